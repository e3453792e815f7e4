package io.vectune.quant.bnb;

import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import tools.jackson.databind.node.ObjectNode;

/// LLM.int8(); it has no options.
public final class Int8WeightQuantizer implements WeightQuantizer {
    /// The one quantizer; it has no state.
    public Int8WeightQuantizer() {}

    @Override
    public String description() {
        return "int8, one absmax a row";
    }

    @Override
    public SequencedMap<String, TensorSpec> declare(String layer, int outFeatures, int inFeatures, DType inputType) {
        SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
        specs.put(layer + ".weight", TensorSpec.of(DType.I8, outFeatures, inFeatures));
        specs.put(layer + ".SCB", TensorSpec.of(DType.F32, outFeatures));
        specs.put(layer + ".weight_format", TensorSpec.of(DType.U8));
        return specs;
    }

    @Override
    public QuantizedWeight quantize(Compute compute, String layer, Tensor weight, Arena arena) {
        return Int8Quantizer.quantize(compute, layer, weight, arena);
    }

    @Override
    public ObjectNode quantizationConfig(List<String> skippedModules, DType inputType) {
        return BnbQuantizationConfig.int8(skippedModules);
    }
}
