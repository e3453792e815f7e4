package io.vectune.cli;

import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.file.FluxAdapterSummary;
import io.vectune.models.load.FluxLoader;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/// What Flux transformers and their adapters say about themselves.
final class FluxInventory {
    private FluxInventory() {}

    /// Facts of a transformer beyond those of its config.json; opening it checks every layer.
    static Map<String, Object> model(Path path, Arena arena) {
        FluxModel model = FluxLoader.load(path, arena);
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("inner_dim", model.config().innerDim());
        facts.put("out_channels", model.config().outChannels());
        facts.put("linear layers", model.linears().size());
        facts.put("x_embedder", model.xEmbedder().weight().description());
        facts.put("model parameters", model.parameters());
        return facts;
    }

    /// The kind of an adapter.
    static String kind(FluxAdapterSummary adapter) {
        return adapter.control() ? "Flux Control LoRA" : "Flux LoRA";
    }

    /// Facts of an adapter.
    static Map<String, Object> adapter(FluxAdapterSummary adapter) {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("key style", adapter.style().label());
        facts.put("layers by rank", adapter.layersByRank());
        facts.put("x_embedder inputs", adapter.inFeatures() == 0 ? "not adapted" : adapter.inFeatures());
        facts.put("norm layers", adapter.norms());
        facts.put("bias terms", adapter.biases());
        facts.put("alphas", adapter.alphas());
        facts.put("text encoder tensors", adapter.textEncoderTensors());
        facts.put("targets", adapter.targets());
        return facts;
    }
}
