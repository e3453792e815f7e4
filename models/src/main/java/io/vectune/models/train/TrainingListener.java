package io.vectune.models.train;

/// Follows a run.
@FunctionalInterface
public interface TrainingListener {
    /// After each step.
    void stepped(StepRecord step);

    /// After a checkpoint was written.
    default void checkpointed(int step) {}
}
