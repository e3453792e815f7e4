package io.vectune.cli;

import io.vectune.models.flux.FluxAdapter;
import io.vectune.models.flux.FluxAdapters;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.load.FluxLoader;
import io.vectune.models.transform.QuantizedLinear;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A mapped Flux transformer with its adapters, the thread team and a session's scratch. Closed as one.
final class FluxHost implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private final Path path;
    private final ThreadTeam team;
    private final Compute compute;
    private final FluxAdapters adapters;
    private final List<String> ignored = new ArrayList<>();

    /// Maps a transformer and its adapters.
    ///
    /// @param quantizer quantizes the linear layers in memory first; null to take them as they are
    /// @param threads size of the team
    FluxHost(Path path, @Nullable WeightQuantizer quantizer, List<AdapterReference> references, int threads) {
        this.path = path;
        this.team = ThreadTeam.of(threads);
        this.compute = new Compute(team);
        try {
            FluxModel stored = FluxLoader.load(path, arena);
            FluxModel base =
                    quantizer == null
                            ? stored
                            : stored.withLinears(linear -> QuantizedLinear.of(linear, quantizer, compute, arena));
            FluxAdapters active = FluxAdapters.none(base);
            int count = 0;
            for (AdapterReference reference : references) {
                FluxAdapter adapter = FluxAdapterFile.read(reference.path(), base.config(), arena);
                count++;
                noteIgnored(reference.path(), adapter);
                active =
                        active.with(
                                adapter.named("adapter " + count + " (" + reference.path() + ")"), reference.weight());
            }
            this.adapters = active;
        } catch (RuntimeException failure) {
            close();
            throw failure;
        }
    }

    private void noteIgnored(Path adapter, FluxAdapter read) {
        List<String> others = read.ignored();
        if (!others.isEmpty()) {
            ignored.add(
                    adapter
                            + ": "
                            + others.size()
                            + " tensors are of other parts of a pipeline and left out: "
                            + others.getFirst()
                            + (others.size() > 1 ? ", ..." : ""));
        }
    }

    /// Says which tensors of the adapters have no place in a transformer.
    void printIgnored(Output output) {
        ignored.forEach(line -> output.note("%s", line));
    }

    /// The path as the user gave it.
    Path path() {
        return path;
    }

    Arena arena() {
        return arena;
    }

    Compute compute() {
        return compute;
    }

    FluxAdapters adapters() {
        return adapters;
    }

    @Override
    public void close() {
        compute.close();
        team.close();
        arena.close();
    }
}
