package io.vectune.models.train;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.StepRule;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Trains the adapters of a frozen model.
///
/// Changes the parameters of the set in place; nobody else may use the set meanwhile. For one thread at a time.
public final class Trainer implements AutoCloseable {
    private final AdapterSet adapters;
    private final Compute compute;
    private final TrainingObjective objective;
    private final TrainerOptions options;
    private final AdapterGradients gradients;
    private final ParameterUpdates updates;
    // Work of the kind beside the optimizer, and the layers whose gradients it wants.
    private final @Nullable StepRule rule;
    private final List<String> ruled = new ArrayList<>();
    private @Nullable RunSettings settings;
    private int done;

    /// Trains on any objective.
    ///
    /// @param adapters trained in place
    /// @param compute of this trainer alone
    /// @param objective closed with the trainer
    /// @throws io.vectune.runtime.VectuneException if the configuration asks for something that is not done in training
    public Trainer(AdapterSet adapters, Compute compute, TrainingObjective objective, TrainerOptions options) {
        adapters.requireTrainable();
        this.adapters = adapters;
        this.compute = compute;
        this.objective = objective;
        this.options = options;
        this.gradients = new AdapterGradients(adapters.adapters());
        this.updates = new ParameterUpdates(adapters, gradients, options);
        this.rule = adapters.stepRule(ruled);
    }

    /// Trains a decoder to predict the next token.
    ///
    /// @param adapters trained in place
    /// @param compute of this trainer alone
    /// @throws io.vectune.runtime.VectuneException if the configuration asks for something that is not done in training
    public Trainer(
            DecoderModel model, AdapterSet adapters, Compute compute, BatchPlan batches, TrainerOptions options) {
        // Before the pass takes its memory.
        adapters.requireTrainable();
        this(adapters, compute, new NextTokenObjective(model, adapters, compute, batches, options), options);
    }

    /// What a run will do and need. Allocates nothing.
    public static TrainingPlan plan(
            DecoderModel model, AdapterSet adapters, BatchPlan batches, TrainerOptions options) {
        long trainable = 0;
        long all = 0;
        for (Adapter adapter : adapters.adapters().values()) {
            for (AdapterParameter parameter : adapter.parameters()) {
                long elements = (long) parameter.values().rows() * parameter.values().columns();
                all += elements;
                trainable += parameter.trainable() ? elements : 0;
            }
        }
        int moments = ParameterUpdates.hasFirstMoment(options.optimizer()) ? 1 : 0;
        moments += options.optimizer() instanceof OptimizerChoice.AdamW ? 1 : 0;
        return new TrainingPlan(
                adapters.adapters().size(),
                trainable,
                model.storageBytes(),
                DecoderPass.trainingBytes(
                        model, adapters.adapters(), batches.limits(), options.gradientCheckpointing()),
                4 * (all + trainable * (1 + moments)),
                batches.meanTokensPerStep(),
                options.schedule().totalSteps());
    }

    /// Steps that are done.
    public int stepsDone() {
        return done;
    }

    /// One step: gradients of all its rows, then one update.
    ///
    /// @throws VectuneException if the rows of the step have no loss, or the loss, a gradient or an updated value is
    ///   not finite; the parameters are then of no use
    public StepRecord step() {
        long start = System.nanoTime();
        gradients.zero();
        TrainingObjective.Loss unpenalized = objective.lossAndGradients(done, gradients);
        double loss = unpenalized.mean();
        double penalty = adapters.penaltyFactor();
        if (penalty != 0) {
            for (Map.Entry<String, Adapter> entry : adapters.adapters().entrySet()) {
                loss += penalty * entry.getValue().regularize(compute, (float) penalty, gradients.of(entry.getKey()));
            }
        }
        if (!Double.isFinite(loss)) {
            throw new VectuneException(
                    "step "
                            + (done + 1)
                            + ": the loss is "
                            + loss
                            + (done == 0
                                    ? "; the model or the adapter holds values that are not finite or too large: check"
                                            + " it with eval"
                                    : "; lower the learning rate, or clip the gradients"));
        }
        double rate = options.learningRate() * options.schedule().factor(done);
        double norm = updates.update(compute, done);
        if (!updates.isFinite()) {
            throw new VectuneException(
                    "step "
                            + (done + 1)
                            + ": the update made values that are not finite (learning rate "
                            + rate
                            + ", gradient norm "
                            + norm
                            + "); lower the learning rate");
        }
        if (rule != null) {
            rule.afterStep(done, ruled.stream().map(gradients::of).toList());
        }
        adapters.refresh(compute);
        done++;
        return new StepRecord(done, loss, rate, norm, unpenalized.tokens(), (System.nanoTime() - start) * 1e-9);
    }

    /// Goes on to the last step of the schedule.
    public void run(TrainingListener listener) {
        while (done < options.schedule().totalSteps()) {
            listener.stepped(step());
        }
    }

    /// Goes on to the last step of the schedule, with a checkpoint every so many steps.
    ///
    /// @param every steps between checkpoints; 0 for none
    public void run(TrainingListener listener, Path checkpoint, int every) {
        while (done < options.schedule().totalSteps()) {
            listener.stepped(step());
            if (every > 0 && done % every == 0) {
                save(checkpoint);
                listener.checkpointed(done);
            }
        }
    }

    /// Writes everything that [#resume] needs, atomically.
    public void save(Path file) {
        Map<String, Matrix> state = state();
        if (rule != null) {
            state.putAll(rule.state());
        }
        TrainingState.write(file, state, done, settings());
    }

    /// Goes back to a saved state; later steps have the same bits as without the interruption.
    ///
    /// @throws VectuneException if the file is of another run: with another model, adapter, data or other options; the
    ///   message names what differs
    public void resume(Path file) {
        Map<String, Matrix> state = state();
        Map<String, Matrix> ofRule = rule == null ? Map.of() : rule.state();
        state.putAll(ofRule);
        done = TrainingState.read(file, state, settings());
        if (rule != null) {
            rule.restore(ofRule);
        }
        adapters.refresh(compute);
    }

    private Map<String, Matrix> state() {
        Map<String, Matrix> state = new LinkedHashMap<>();
        adapters.adapters()
                .forEach((module, adapter) -> {
                    for (AdapterParameter parameter : adapter.parameters()) {
                        state.put(module + "." + parameter.name(), parameter.values());
                    }
                });
        state.putAll(updates.state());
        return state;
    }

    // Neither the model nor the options change: one look at them serves all checkpoints.
    private RunSettings settings() {
        RunSettings known = settings;
        if (known == null) {
            known = RunSettings.of(adapters, objective, options);
            settings = known;
        }
        return known;
    }

    @Override
    public void close() {
        objective.close();
        updates.close();
        gradients.close();
    }
}
