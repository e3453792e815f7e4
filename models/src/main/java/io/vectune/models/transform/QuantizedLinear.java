package io.vectune.models.transform;

import io.vectune.models.decoder.Linear;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DecodedWeight;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;

/// Quantizes one linear layer in memory, of any model.
public final class QuantizedLinear {
    private QuantizedLinear() {}

    /// The layer with a quantized weight. A weight that is not dense is decoded first.
    ///
    /// @param arena holds the quantized weight
    /// @throws io.vectune.runtime.VectuneException if the weight cannot be quantized; the message names the layer
    public static Linear of(Linear linear, WeightQuantizer quantizer, Compute compute, Arena arena) {
        if (linear.weight() instanceof DenseWeight dense) {
            return linear.withWeight(quantizer.quantize(compute, linear.name(), dense.tensor(), arena));
        }
        try (Arena temporary = Arena.ofShared()) {
            Tensor decoded = DecodedWeight.of(compute, linear.weight(), temporary);
            return linear.withWeight(quantizer.quantize(compute, linear.name(), decoded, arena));
        }
    }
}
