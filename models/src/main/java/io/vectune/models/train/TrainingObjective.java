package io.vectune.models.train;

import io.vectune.models.decoder.AdapterGradients;
import java.util.Map;

/// What a run minimizes: a model, the rows that it learns from, and their loss.
public interface TrainingObjective extends AutoCloseable {
    /// The loss of a step.
    ///
    /// @param mean over all targets of the step
    /// @param tokens that went through the model
    record Loss(double mean, int tokens) {}

    /// Adds the gradients of a step's mean loss to those of the adapters' parameters. The rows of a step are a pure
    /// function of its number, so that a resumed run goes on where it stopped.
    ///
    /// @param step 0 for the first one
    /// @throws io.vectune.runtime.VectuneException if the rows of the step have no loss
    Loss lossAndGradients(int step, AdapterGradients gradients);

    /// What a checkpoint must have been made with, by name: the model, the rows of a step and how they are used.
    Map<String, String> settings();

    @Override
    void close();
}
