package io.vectune.models.transform;

import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.compute.Compute;
import java.lang.foreign.Arena;
import java.util.function.Consumer;
import java.util.function.Predicate;

/// Quantizes the linear layers of a model in memory: quantize on load.
public final class QuantizedModel {
    private QuantizedModel() {}

    /// The layers that the libraries quantize: all but the output head.
    public static final Predicate<Linear> ALL_BUT_HEAD = linear -> !linear.name().equals(DecoderModel.HEAD);

    /// The model with quantized weights in the chosen layers. Weights that are not dense are decoded first.
    ///
    /// @param chosen the layers to quantize
    /// @param arena holds the quantized weights
    /// @param progress gets each layer before it is quantized
    /// @throws io.vectune.runtime.VectuneException if a weight cannot be quantized; the message names the layer
    public static DecoderModel of(
            DecoderModel model,
            WeightQuantizer quantizer,
            Predicate<Linear> chosen,
            Compute compute,
            Arena arena,
            Consumer<Linear> progress) {
        return model.withLinears(linear -> {
            if (!chosen.test(linear)) {
                return linear;
            }
            progress.accept(linear);
            return QuantizedLinear.of(linear, quantizer, compute, arena);
        });
    }
}
