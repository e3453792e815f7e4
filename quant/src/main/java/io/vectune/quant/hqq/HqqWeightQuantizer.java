package io.vectune.quant.hqq;

import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// HQQ with one configuration for all layers.
///
/// @param config what all layers share; its compute type holds where `computeDtype` is given
/// @param computeDtype the compute type; empty for the type of each dense weight
/// @param quantizedMeta whether scales and zero points are stored in 8 bits
public record HqqWeightQuantizer(HqqConfig config, Optional<DType> computeDtype, boolean quantizedMeta)
        implements WeightQuantizer {
    private static final int LARGEST_META_GROUP = 128;

    /// The quantizer that a user asked for.
    ///
    /// @throws VectuneException if an option has a value that HQQ does not know
    public static HqqWeightQuantizer of(QuantizeOptions options) {
        HqqConfig config = HqqConfig.of(HqqBits.of(options.bits()), groupSize(options.groupSize()), options.axis());
        boolean quantizedMeta =
                switch (options.metaBits()) {
                    case "none" -> false;
                    case "8" -> true;
                    default -> throw new VectuneException("meta bits: expected 8 or none, found " + options.metaBits());
                };
        return new HqqWeightQuantizer(config, options.computeDtype(), quantizedMeta);
    }

    private static int groupSize(String text) {
        if (text.equals("none")) {
            return HqqConfig.CHANNEL;
        }
        try {
            int size = Integer.parseInt(text);
            if (size > 0) {
                return size;
            }
        } catch (NumberFormatException notANumber) {
            // refused below, like a number that is not positive
        }
        throw new VectuneException("group size: expected a positive number or none, found " + text);
    }

    @Override
    public String description() {
        String group = config.groupSize() == HqqConfig.CHANNEL ? "one group a channel" : "group " + config.groupSize();
        return "hqq %s-bit, %s, axis %d%s"
                .formatted(config.bits().text(), group, config.axis(), quantizedMeta ? ", 8-bit metadata" : "");
    }

    @Override
    public SequencedMap<String, TensorSpec> declare(String layer, int outFeatures, int inFeatures, DType inputType) {
        try {
            HqqConfig own = configFor(outFeatures, inFeatures, inputType);
            return HqqStateDict.declare(layer, outFeatures, inFeatures, own);
        } catch (VectuneException refused) {
            throw new VectuneException(layer + ": " + refused.getMessage(), refused);
        }
    }

    @Override
    public QuantizedWeight quantize(Compute compute, String layer, Tensor weight, Arena arena) {
        if (weight.axes() != 2) {
            throw new VectuneException(layer + ": expected 2 axes (outFeatures, inFeatures), found " + weight);
        }
        HqqConfig own;
        try {
            own = configFor(Math.toIntExact(weight.size(0)), Math.toIntExact(weight.size(1)), weight.dtype());
        } catch (VectuneException refused) {
            throw new VectuneException(layer + ": " + refused.getMessage(), refused);
        }
        return HqqQuantizer.quantize(compute, layer, weight, own, arena);
    }

    /// The configuration for a weight of that shape and type.
    private HqqConfig configFor(int outFeatures, int inFeatures, DType inputType) {
        HqqConfig own = config.withComputeDtype(computeDtype.orElse(inputType));
        if (!quantizedMeta) {
            return own;
        }
        int groups = own.geometry(outFeatures, inFeatures).groups();
        int metaGroup = Math.min(Integer.lowestOneBit(groups), LARGEST_META_GROUP);
        return own.withMeta(new HqqMetaConfig.Grouped(metaGroup, 0), HqqMetaConfig.PER_TENSOR);
    }

    /// As transformers' HqqConfig writes it.
    @Override
    public ObjectNode quantizationConfig(List<String> skippedModules, DType inputType) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        ObjectNode weights = nodes.objectNode();
        weights.put("axis", config.axis());
        weights.put("channel_wise", true);
        if (config.groupSize() == HqqConfig.CHANNEL) {
            weights.putNull("group_size");
        } else {
            weights.put("group_size", config.groupSize());
        }
        if (config.bits() == HqqBits.TERNARY) {
            weights.put("nbits", 1.58);
        } else {
            weights.put("nbits", Integer.parseInt(config.bits().text()));
        }
        weights.put("optimize", config.optimize());
        weights.put("round_zero", config.roundZero());
        weights.put("view_as_float", config.viewAsFloat());
        ObjectNode inner = nodes.objectNode();
        inner.put("offload_meta", false);
        inner.putNull("scale_quant_params");
        inner.set("weight_quant_params", weights);
        inner.putNull("zero_quant_params");
        ObjectNode outer = nodes.objectNode();
        outer.set("quant_config", inner);
        outer.put("quant_method", "hqq");
        outer.set("skip_modules", nodes.arrayNode().addAll(skippedModules.stream().map(nodes::stringNode).toList()));
        return outer;
    }
}
