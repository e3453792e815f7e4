package io.vectune.models.checkpoint;

import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.WeightFormat;
import io.vectune.quant.WeightFormats;
import io.vectune.runtime.safetensors.TensorSource;
import java.lang.foreign.Arena;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// The quantized layers of a checkpoint and the tensors that make them up.
final class QuantizedLayers {
    private final Map<String, QuantizedWeight> weights;
    private final Map<String, Set<String>> keys;
    private final Set<String> owned = new HashSet<>();

    private QuantizedLayers(Map<String, QuantizedWeight> weights, Map<String, Set<String>> keys) {
        this.weights = weights;
        this.keys = keys;
        keys.values().forEach(owned::addAll);
    }

    /// Finds and maps all quantized layers, of any format.
    static QuantizedLayers of(TensorSource source, LoadContext context) {
        Map<String, QuantizedWeight> weights = new LinkedHashMap<>();
        Map<String, Set<String>> keys = new HashMap<>();
        for (String layer : layerNames(source)) {
            Optional<WeightFormat> format = WeightFormats.of(source, layer);
            if (format.isPresent()) {
                weights.put(layer, format.get().load(source, layer, context));
                keys.put(layer, format.get().keys(source, layer));
            }
        }
        return new QuantizedLayers(weights, keys);
    }

    /// The format of the first quantized layer, in words; empty if all layers are dense.
    static Optional<String> formatOf(TensorSource source) {
        try (Arena arena = Arena.ofShared()) {
            return layerNames(source).stream()
                    .flatMap(layer ->
                            WeightFormats.of(source, layer)
                                    .map(format -> format.load(source, layer, LoadContext.of(arena)).description())
                                    .stream())
                    .findFirst();
        }
    }

    /// Every path that some tensor's name starts with.
    private static Set<String> layerNames(TensorSource source) {
        Set<String> names = new LinkedHashSet<>();
        for (String name : source.names()) {
            for (int dot = name.indexOf('.'); dot > 0; dot = name.indexOf('.', dot + 1)) {
                names.add(name.substring(0, dot));
            }
        }
        return names;
    }

    /// The layers, in the order of the checkpoint.
    Set<String> names() {
        return weights.keySet();
    }

    /// The tensors that make up a quantized layer.
    Set<String> keys(String layer) {
        return keys.getOrDefault(layer, Set.of());
    }

    /// Whether a tensor belongs to a quantized layer.
    boolean owns(String tensor) {
        return owned.contains(tensor);
    }

    /// The weight of a layer.
    QuantizedWeight weight(String layer) {
        QuantizedWeight weight = weights.get(layer);
        if (weight == null) {
            throw new IllegalArgumentException(layer + " is not quantized");
        }
        return weight;
    }

    /// The weight of a layer, if it is quantized.
    Optional<QuantizedWeight> find(String layer) {
        return Optional.ofNullable(weights.get(layer));
    }
}
