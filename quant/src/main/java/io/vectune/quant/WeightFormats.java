package io.vectune.quant;

import io.vectune.quant.bnb.FourBitFormat;
import io.vectune.quant.bnb.Int8Format;
import io.vectune.quant.hqq.HqqFormat;
import io.vectune.runtime.safetensors.TensorSource;
import java.util.List;
import java.util.Optional;

/// The quantized formats that checkpoints may hold.
public final class WeightFormats {
    private static final List<WeightFormat> ALL = List.of(new HqqFormat(), new FourBitFormat(), new Int8Format());

    private WeightFormats() {}

    /// All formats; a layer is recognized by at most one.
    public static List<WeightFormat> all() {
        return ALL;
    }

    /// The format in which `source` holds a layer; empty if its weight is dense or absent.
    public static Optional<WeightFormat> of(TensorSource source, String layer) {
        return ALL.stream().filter(format -> format.recognizes(source, layer)).findFirst();
    }
}
