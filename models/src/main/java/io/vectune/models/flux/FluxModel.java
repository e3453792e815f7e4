package io.vectune.models.flux;

import io.vectune.adapters.LayerSite;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.ExpandedWeight;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/// The weights of a Flux transformer. Immutable, shared by all threads; memory belongs to the arena of whoever loaded
/// it.
///
/// @param guidanceEmbedder null in models without guidance
/// @param normOut makes scale and shift of the last norm from the conditioning
public record FluxModel(
        FluxConfig config,
        Linear xEmbedder,
        Linear contextEmbedder,
        EmbedderLayers timestepEmbedder,
        @Nullable EmbedderLayers guidanceEmbedder,
        EmbedderLayers textEmbedder,
        List<DoubleStreamLayers> doubleBlocks,
        List<SingleStreamLayers> singleBlocks,
        Linear normOut,
        Linear projOut) {
    /// The name of the layer that reads the packed latents; a Control LoRA widens it.
    public static final String X_EMBEDDER = "x_embedder";

    public FluxModel {
        doubleBlocks = List.copyOf(doubleBlocks);
        singleBlocks = List.copyOf(singleBlocks);
        if (xEmbedder.weight().inFeatures() != config.inChannels()) {
            throw new IllegalArgumentException(
                    X_EMBEDDER
                            + ": expected in_channels "
                            + config.inChannels()
                            + " input features, found "
                            + xEmbedder.weight().inFeatures());
        }
    }

    /// All linear layers, in the order of diffusers' modules.
    public List<Linear> linears() {
        List<Linear> linears = new ArrayList<>(timestepEmbedder.linears());
        if (guidanceEmbedder != null) {
            linears.addAll(guidanceEmbedder.linears());
        }
        linears.addAll(textEmbedder.linears());
        linears.add(contextEmbedder);
        linears.add(xEmbedder);
        doubleBlocks.forEach(block -> linears.addAll(block.linears()));
        singleBlocks.forEach(block -> linears.addAll(block.linears()));
        linears.add(normOut);
        linears.add(projOut);
        return linears;
    }

    /// The places where adapters can sit: all linear layers.
    public List<LayerSite> sites() {
        return linears().stream().map(linear -> new LayerSite(linear.name(), linear.weight(), linear.bias())).toList();
    }

    /// The norms of queries and keys by their names in a checkpoint, without `.weight`.
    public Map<String, Matrix> norms() {
        Map<String, Matrix> norms = new LinkedHashMap<>();
        for (DoubleStreamLayers block : doubleBlocks) {
            for (StreamLayers stream : List.of(block.image(), block.text())) {
                norms.put(stream.queryNormName(), stream.queryNorm());
                norms.put(stream.keyNormName(), stream.keyNorm());
            }
        }
        for (SingleStreamLayers block : singleBlocks) {
            norms.put(block.queryNormName(), block.queryNorm());
            norms.put(block.keyNormName(), block.keyNorm());
        }
        return norms;
    }

    /// This model with other linear layers: quantized on load, merged with an adapter.
    ///
    /// @param map gives the layer to use; the same object to keep it
    public FluxModel withLinears(UnaryOperator<Linear> map) {
        return with(map, Map.of());
    }

    /// This model with other norms of queries and keys, by name; the others stay.
    public FluxModel withNorms(Map<String, Matrix> norms) {
        return norms.isEmpty() ? this : with(UnaryOperator.identity(), norms);
    }

    private FluxModel with(UnaryOperator<Linear> map, Map<String, Matrix> norms) {
        Linear input = map.apply(xEmbedder);
        return new FluxModel(
                config.withInChannels(input.weight().inFeatures()),
                input,
                map.apply(contextEmbedder),
                timestepEmbedder.map(map),
                guidanceEmbedder == null ? null : guidanceEmbedder.map(map),
                textEmbedder.map(map),
                doubleBlocks.stream().map(block -> block.map(map, norms)).toList(),
                singleBlocks.stream().map(block -> block.map(map, norms)).toList(),
                map.apply(normOut),
                map.apply(projOut));
    }

    /// This model with a wider input whose new features are ignored until an adapter reads them. No weight is copied:
    /// the new model shares everything with this one.
    ///
    /// @throws IllegalArgumentException if the input is wider already
    public FluxModel widened(int inChannels) {
        if (inChannels == config.inChannels()) {
            return this;
        }
        Weight wide = ExpandedWeight.of(xEmbedder.weight(), inChannels);
        return withLinears(
                linear -> linear.name().equals(X_EMBEDDER) ? new Linear(linear.name(), wide, linear.bias()) : linear);
    }

    /// Bytes of all linear weights as they are stored.
    public long storageBytes() {
        return linears().stream().mapToLong(linear -> linear.weight().storageBytes()).sum();
    }

    /// Number of parameters.
    public long parameters() {
        long parameters = 0;
        for (Linear linear : linears()) {
            Matrix bias = linear.bias();
            parameters += (long) linear.weight().outFeatures() * linear.weight().inFeatures();
            parameters += bias == null ? 0 : bias.columns();
        }
        for (Matrix norm : norms().values()) {
            parameters += norm.columns();
        }
        return parameters;
    }
}
