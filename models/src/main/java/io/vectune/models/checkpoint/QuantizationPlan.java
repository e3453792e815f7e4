package io.vectune.models.checkpoint;

import io.vectune.models.eval.LayerMoments;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.tensor.DType;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.node.ObjectNode;

/// How the layers of a checkpoint are quantized.
///
/// @param quantizer for every layer without its own; the one that config.json describes
/// @param own quantizers of single layers, by name
/// @param correctionRank rank of the low-rank correction of each layer; 0 for none
/// @param moments what calibration measured, by layer; empty without: then all inputs weigh the same
public record QuantizationPlan(
        WeightQuantizer quantizer,
        Map<String, WeightQuantizer> own,
        int correctionRank,
        Map<String, LayerMoments> moments) {
    public QuantizationPlan {
        own = Map.copyOf(own);
        moments = Map.copyOf(moments);
    }

    /// The same quantizer for every layer, nothing else.
    public static QuantizationPlan of(WeightQuantizer quantizer) {
        return new QuantizationPlan(quantizer, Map.of(), 0, Map.of());
    }

    /// The plan with a low-rank correction of every layer.
    public QuantizationPlan withCorrection(int rank, Map<String, LayerMoments> weighting) {
        return new QuantizationPlan(quantizer, own, rank, weighting);
    }

    /// How a layer is quantized.
    public WeightQuantizer quantizerOf(String layer) {
        return own.getOrDefault(layer, quantizer);
    }

    /// The `quantization_config` of config.json.
    ObjectNode quantizationConfig(List<String> skippedModules, DType inputType) {
        ObjectNode config = quantizer.quantizationConfig(skippedModules, inputType);
        if (own.values().stream().anyMatch(other -> !other.equals(quantizer))) {
            // transformers has no place for widths by layer, and reads each layer's own
            config.put("nbits_by_layer", true);
        }
        return config;
    }

    /// Mean square of each input of a layer; empty if it is not known.
    double[] inputMoments(String layer) {
        LayerMoments found = moments.get(layer);
        return found == null ? new double[0] : found.inputs();
    }
}
