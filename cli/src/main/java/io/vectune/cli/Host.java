package io.vectune.cli;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.AdapterSet.Weighted;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.load.LoadedModel;
import io.vectune.models.load.ModelLoader;
import io.vectune.models.transform.QuantizedModel;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// What a command works with: a mapped model, its adapters, the thread team, a session's scratch. Closed as one.
final class Host implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private final List<Weighted> adapters = new ArrayList<>();
    private final ThreadTeam team;
    private final Compute compute;
    private final LoadedModel loaded;
    private final DecoderModel model;
    private final @Nullable AdapterSet adapterSet;
    private final boolean quantizesOnLoad;

    private Host(Path path, @Nullable WeightQuantizer quantizer, List<AdapterReference> references, int threads) {
        this.team = ThreadTeam.of(threads);
        this.compute = new Compute(team);
        this.quantizesOnLoad = quantizer != null;
        try {
            this.loaded = ModelLoader.load(path, arena);
            this.model =
                    quantizer == null
                            ? loaded.decoder()
                            : QuantizedModel.of(
                                    loaded.decoder(),
                                    quantizer,
                                    QuantizedModel.ALL_BUT_HEAD,
                                    compute,
                                    arena,
                                    layer -> {});
            for (AdapterReference reference : references) {
                adapters.add(
                        new Weighted(AdapterFiles.read(reference.path(), model.sites(), compute), reference.weight()));
            }
            this.adapterSet = compose(adapters);
        } catch (RuntimeException failure) {
            close();
            throw failure;
        }
    }

    /// Maps a model and its adapters.
    ///
    /// @param quantizer quantizes the linear layers in memory first; null to take them as they are
    /// @param threads size of the team
    static Host open(Path path, @Nullable WeightQuantizer quantizer, List<AdapterReference> references, int threads) {
        return new Host(path, quantizer, references, threads);
    }

    private static @Nullable AdapterSet compose(List<Weighted> members) {
        if (members.isEmpty()) {
            return null;
        }
        Weighted first = members.getFirst();
        return members.size() == 1 && first.weight() == 1 ? first.set() : AdapterSet.compose(members);
    }

    Arena arena() {
        return arena;
    }

    ThreadTeam team() {
        return team;
    }

    Compute compute() {
        return compute;
    }

    LoadedModel loaded() {
        return loaded;
    }

    /// Whether linear layers were quantized in memory.
    boolean quantizesOnLoad() {
        return quantizesOnLoad;
    }

    DecoderModel model() {
        return model;
    }

    /// The adapters by layer; empty for the base model.
    Map<String, Adapter> adapters() {
        return adapterSet == null ? Map.of() : adapterSet.adapters();
    }

    /// The adapters as one set: the one that was named, or the composition of several; null for none.
    @Nullable AdapterSet adapterSet() {
        return adapterSet;
    }

    /// A new text for the model and its adapters.
    DecoderSession session(int capacity) {
        return new DecoderSession(model, adapters(), compute, capacity);
    }

    @Override
    public void close() {
        adapters.forEach(adapter -> adapter.set().close());
        compute.close();
        team.close();
        arena.close();
    }
}
