package io.vectune.quant.bnb;

import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.WeightFormat;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/// LLM.int8() layers in safetensors files, as bitsandbytes and transformers store them.
///
/// | key | type, shape | |
/// |---|---|---|
/// | `weight` | I8 (outFeatures, inFeatures) | codes |
/// | `SCB` | F32 [outFeatures] | absmax of each row |
/// | `weight_format` | U8 [], optional | 0: rows; other layouts are refused |
public final class Int8Format implements WeightFormat {
    /// The one format; it has no state.
    public Int8Format() {}

    @Override
    public String name() {
        return "bitsandbytes int8";
    }

    @Override
    public boolean recognizes(TensorSource source, String layer) {
        return source.contains(layer + ".SCB");
    }

    @Override
    public Set<String> keys(TensorSource source, String layer) {
        Set<String> keys = new LinkedHashSet<>();
        for (String key : List.of("weight", "SCB", "weight_format")) {
            if (source.contains(layer + "." + key)) {
                keys.add(layer + "." + key);
            }
        }
        return keys;
    }

    @Override
    public QuantizedWeight load(TensorSource source, String layer, LoadContext context) {
        String where = source.origin() + ": " + layer;
        Tensor codes = source.tensor(layer + ".weight");
        if (codes.dtype() != DType.I8 || codes.axes() != 2) {
            throw new FileFormatException(
                    where + ".weight: expected I8 (outFeatures, inFeatures) beside SCB, found " + codes);
        }
        BnbQuantizationConfig.checkInt8(context.quantizationConfig(), where + ".weight");
        Tensor absmax = source.tensor(layer + ".SCB");
        if (absmax.dtype() != DType.F32 || absmax.elements() != codes.size(0)) {
            throw new FileFormatException(
                    where + ".SCB: expected F32[" + codes.size(0) + "], one value a row, found " + absmax);
        }
        FourBitFormat.checkFinite(where + ".SCB", absmax);
        source.find(layer + ".weight_format").ifPresent(format -> checkLayout(where + ".weight_format", format));
        return new Int8Weight(
                DType.F16,
                Math.toIntExact(codes.size(0)),
                Math.toIntExact(codes.size(1)),
                codes.segment(),
                absmax.segment());
    }

    private static void checkLayout(String where, Tensor format) {
        if (format.dtype() != DType.U8 || format.elements() != 1) {
            throw new FileFormatException(where + ": expected one U8 value, found " + format);
        }
        int layout = format.segment().get(Tensor.BYTE, 0);
        if (layout != 0) {
            throw new FileFormatException(
                    where + ": expected 0 (rows), found " + layout + "; layouts of old GPU kernels cannot be read");
        }
    }
}
