package io.vectune.quant;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.SequencedMap;
import tools.jackson.databind.node.ObjectNode;

/// Quantizes the weights of linear layers in one way; immutable. Made by [Quantizers].
public interface WeightQuantizer {
    /// The format in a few words, for people: `hqq 4-bit, group 64, axis 1`.
    String description();

    /// Names, types and shapes of the tensors that [QuantizedWeight#tensors] will give for a layer.
    ///
    /// @param inputType the type of the dense weight
    /// @throws io.vectune.runtime.VectuneException if a weight of that shape cannot be quantized so; starts with
    ///   `layer`
    SequencedMap<String, TensorSpec> declare(String layer, int outFeatures, int inFeatures, DType inputType);

    /// Quantizes one weight.
    ///
    /// @param layer what messages call the weight
    /// @param weight F32, F16 or BF16, (outFeatures, inFeatures)
    /// @param arena holds the result
    /// @throws io.vectune.runtime.VectuneException if the weight has non-finite values or its shape does not fit
    QuantizedWeight quantize(Compute compute, String layer, Tensor weight, Arena arena);

    /// The `quantization_config` of config.json that tells the Python libraries about these weights.
    ///
    /// @param skippedModules modules left dense, as `lm_head`
    /// @param inputType the type of the dense weights
    ObjectNode quantizationConfig(List<String> skippedModules, DType inputType);
}
