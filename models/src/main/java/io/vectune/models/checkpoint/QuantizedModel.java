package io.vectune.models.checkpoint;

import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.function.Consumer;

/// Quantizes the linear layers of a loaded decoder in memory, its output head left as it is.
public final class QuantizedModel {
    private QuantizedModel() {}

    /// The model with quantized linear layers; norms, embedding and head are those of `model`.
    ///
    /// A layer that is already quantized in another format is dequantized to f32 first, one layer at a time.
    ///
    /// @param arena holds the quantized weights
    /// @param progress gets the name of each layer when it is done
    /// @throws io.vectune.runtime.VectuneException if a weight has non-finite values or a shape that does not fit
    public static DecoderModel of(
            DecoderModel model, WeightQuantizer quantizer, Compute compute, Arena arena, Consumer<String> progress) {
        return model.withLinears(linear -> {
            if (linear.name().equals(DecoderModel.HEAD)) {
                return linear;
            }
            Linear quantized = linear.withWeight(quantize(linear, quantizer, compute, arena));
            progress.accept(linear.name());
            return quantized;
        });
    }

    private static Weight quantize(Linear linear, WeightQuantizer quantizer, Compute compute, Arena arena) {
        if (linear.weight() instanceof DenseWeight dense) {
            return quantizer.quantize(compute, linear.name(), dense.tensor(), arena);
        }
        try (Arena temporary = Arena.ofShared()) {
            Tensor dense = FloatCast.of(temporary, DenseForm.of(linear.weight(), temporary), DType.F32);
            return quantizer.quantize(compute, linear.name(), dense, arena);
        }
    }
}
