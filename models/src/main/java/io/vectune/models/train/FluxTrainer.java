package io.vectune.models.train;

import io.vectune.adapters.AdapterSet;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.flux.FlowMatching;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.FluxPass;
import io.vectune.models.flux.FluxRow;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.lang.foreign.Arena;
import java.util.List;

/// Trains the adapters of a frozen Flux transformer on the flow-matching loss, the mean over all elements of a step.
///
/// Changes the parameters of the set in place; nobody else may use the set meanwhile. For one thread at a time.
public final class FluxTrainer implements AutoCloseable {
    private final AdapterSet adapters;
    private final Compute compute;
    private final List<FluxRow> rows;
    private final FlowMatching task;
    private final int batchSize;
    private final TrainerOptions options;
    private final FluxPass pass;
    private final AdapterGradients gradients;
    private final ParameterUpdates updates;
    private int done;

    /// @param model widened where the rows have a control image
    /// @param adapters over the layers of that model, trained in place
    /// @param rows taken in their order, again and again
    /// @param batchSize rows of one step
    public FluxTrainer(
            FluxModel model,
            AdapterSet adapters,
            Compute compute,
            List<FluxRow> rows,
            FlowMatching task,
            int batchSize,
            TrainerOptions options) {
        if (rows.isEmpty() || batchSize < 1) {
            throw new IllegalArgumentException(
                    "training data: expected rows and a batch size of at least 1, found "
                            + rows.size()
                            + " rows and "
                            + batchSize);
        }
        this.adapters = adapters;
        this.compute = compute;
        this.rows = List.copyOf(rows);
        this.task = task;
        this.batchSize = batchSize;
        this.options = options;
        this.pass = new FluxPass(model, adapters.adapters(), compute);
        this.gradients = new AdapterGradients(adapters.adapters());
        this.updates = new ParameterUpdates(adapters, gradients, options);
    }

    /// Steps that are done.
    public int stepsDone() {
        return done;
    }

    /// One step: gradients of its rows, then one update.
    ///
    /// @throws VectuneException if the loss is not finite
    public StepRecord step() {
        long start = System.nanoTime();
        gradients.zero();
        long first = (long) done * batchSize;
        long elements = 0;
        int tokens = 0;
        for (int index = 0; index < batchSize; index++) {
            FluxRow row = row(first + index);
            elements += (long) row.latents().rows() * row.latents().columns();
            tokens += row.latents().rows() + row.encoderHiddenStates().rows();
        }
        double loss = 0;
        for (int index = 0; index < batchSize; index++) {
            try (Arena arena = Arena.ofShared()) {
                long number = first + index;
                FlowMatching.Draw draw = task.draw(row(number), number, arena);
                long dropoutSeed = options.seed() + number;
                loss += pass.lossAndGradients(draw.inputs(), draw.target(), 1.0 / elements, dropoutSeed, gradients);
            }
        }
        if (!Double.isFinite(loss)) {
            throw new VectuneException(
                    "step "
                            + (done + 1)
                            + ": the loss is "
                            + loss
                            + "; lower the learning rate, or clip the gradients");
        }
        double rate = options.learningRate() * options.schedule().factor(done);
        double norm = updates.update(compute, done);
        adapters.refresh(compute);
        done++;
        return new StepRecord(done, loss, rate, norm, tokens, (System.nanoTime() - start) * 1e-9);
    }

    private FluxRow row(long number) {
        return rows.get((int) (number % rows.size()));
    }

    /// Goes on to the last step of the schedule.
    public void run(TrainingListener listener) {
        while (done < options.schedule().totalSteps()) {
            listener.stepped(step());
        }
    }

    @Override
    public void close() {
        updates.close();
        gradients.close();
    }
}
