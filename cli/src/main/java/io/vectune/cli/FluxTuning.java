package io.vectune.cli;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.flux.FlowMatching;
import io.vectune.models.flux.FluxAdapter;
import io.vectune.models.flux.FluxMemory;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.FluxRow;
import io.vectune.models.flux.TrainableFluxAdapter;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.flux.file.FluxAdapterWriter;
import io.vectune.models.flux.file.FluxRowsFile;
import io.vectune.models.train.FlowMatchingObjective;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.runtime.VectuneException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A transformer with its training rows and the LoRA that is trained on it. Closed before its host.
final class FluxTuning implements AutoCloseable {
    private final FluxHost host;
    private final List<FluxRow> rows;
    private final TrainableFluxAdapter trainable;

    private FluxTuning(FluxHost host, List<FluxRow> rows, TrainableFluxAdapter trainable) {
        this.host = host;
        this.rows = rows;
        this.trainable = trainable;
    }

    /// Reads the rows and makes the adapter, as wide as they are.
    ///
    /// @param method kind of a new adapter
    /// @param initFrom the adapter that is continued, or null for a new one
    /// @param options of a new adapter
    /// @param seed of its start values
    static FluxTuning open(
            FluxHost host,
            Path data,
            @Nullable String method,
            @Nullable Path initFrom,
            AdapterOptions options,
            long seed) {
        FluxModel base = host.adapters().base();
        List<FluxRow> rows = FluxRowsFile.read(data, base.config(), host.arena());
        int inChannels = rows.getFirst().inChannels();
        if (initFrom != null) {
            options.requireNone("--init-from");
            FluxAdapter read = FluxAdapterFile.read(initFrom, base.config(), host.arena());
            TrainableFluxAdapter continued = TrainableFluxAdapter.of(base, read, inChannels, host.compute(), seed);
            return new FluxTuning(host, rows, continued);
        }
        String kind = String.valueOf(method);
        if (!kind.equalsIgnoreCase("lora")) {
            throw new UsageException(
                    "--method: expected lora, as diffusers stores no other adapter of a Flux transformer, found "
                            + kind);
        }
        try {
            AdapterConfig config = options.config(kind, host.path(), 0, Map.of("target_modules", "all-linear"));
            TrainableFluxAdapter fresh = TrainableFluxAdapter.create(base, config, inChannels, host.compute(), seed);
            return new FluxTuning(host, rows, fresh);
        } catch (VectuneException unfit) {
            // A new adapter comes from the options alone: what does not fit the model is one of them.
            throw new UsageException(String.valueOf(unfit.getMessage()));
        }
    }

    /// Number of rows.
    int rows() {
        return rows.size();
    }

    /// What is trained.
    AdapterSet set() {
        return trainable.set();
    }

    /// Says what will be trained on what.
    void print(Output output) {
        FluxModel base = host.adapters().base();
        output.note(
                "model      %s: %d linear layers, %,d parameters, %s",
                host.path(), base.linears().size(), base.parameters(), base.xEmbedder().weight().description());
        output.note(
                "adapter    lora on %d layers: %,d parameters trained",
                set().adapters().size(), set().trainableElements());
        output.note(
                "data       %d rows of %d tokens, %d channels",
                rows.size(), rows.getFirst().latents().rows(), rows.getFirst().inChannels());
        FluxRow row = rows.getFirst();
        long activations =
                FluxMemory.trainingBytes(
                        trainable.model(), set().adapters(), row.latents().rows(), row.encoderHiddenStates().rows());
        // Parameters, gradients and two moments.
        long optimizer = 4L * Float.BYTES * set().trainableElements();
        output.note(
                "memory     %s: weights %s (mapped), activations %s, adapter and optimizer %s",
                Progress.bytes(base.storageBytes() + activations + optimizer),
                Progress.bytes(base.storageBytes()),
                Progress.bytes(activations),
                Progress.bytes(optimizer));
    }

    /// A trainer; the caller closes it.
    Trainer trainer(FlowMatching task, int rowsPerStep, boolean shuffle, TrainerOptions options) {
        FlowMatchingObjective objective =
                new FlowMatchingObjective(trainable.model(), set(), host.compute(), rows, task, rowsPerStep, shuffle);
        return new Trainer(set(), host.compute(), objective, options);
    }

    /// Writes the adapter as diffusers loads it.
    void write(Path path) {
        FluxAdapterWriter.write(set(), trainable.norms(), path);
    }

    @Override
    public void close() {
        trainable.close();
    }
}
