package io.vectune.cli;

import io.vectune.models.flux.FluxAdapter;
import io.vectune.models.flux.FluxAdapters;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.CpuTopology;
import io.vectune.runtime.compute.ThreadTeam;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.List;

/// A mapped Flux transformer with its adapters, the thread team and a session's scratch. Closed as one.
final class FluxHost implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team;
    private final Compute compute;
    private final FluxAdapters adapters;

    FluxHost(Path path, List<String> references, int threads) {
        this.team = ThreadTeam.of(threads > 0 ? threads : CpuTopology.usablePhysicalCores());
        this.compute = new Compute(team);
        try {
            FluxModel base = FluxLoader.load(path, arena);
            FluxAdapters active = FluxAdapters.none(base);
            int count = 0;
            for (String text : references) {
                AdapterReference reference = AdapterReference.parse(text);
                FluxAdapter adapter = FluxAdapterFile.read(reference.path(), base.config(), arena);
                count++;
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
