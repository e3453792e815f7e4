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

/// NF4 and FP4 layers in safetensors files, as bitsandbytes and transformers store them.
///
/// | key | type, shape | |
/// |---|---|---|
/// | `weight` | U8 [bytes, 1], or a float type over the same bytes | two codes a byte |
/// | `weight.absmax` | F32 [blocks]; U8 [blocks] where nested | |
/// | `weight.quant_map` | F32 [16] | the codebook |
/// | `weight.nested_absmax`, `weight.nested_quant_map` | F32 [blocks / 256], F32 [256] | where nested |
/// | `weight.quant_state.bitsandbytes__nf4` (or `fp4`) | U8 [bytes] | see [QuantState] |
public final class FourBitFormat implements WeightFormat {
    private static final List<String> STATE_KEYS =
            List.of("quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4");
    private static final float MAP_TOLERANCE = 1e-6f;

    /// The one format; it has no state.
    public FourBitFormat() {}

    @Override
    public String name() {
        return "bitsandbytes 4-bit";
    }

    @Override
    public boolean recognizes(TensorSource source, String layer) {
        return source.contains(layer + ".weight.absmax")
                || STATE_KEYS.stream().anyMatch(key -> source.contains(layer + ".weight." + key));
    }

    @Override
    public Set<String> keys(TensorSource source, String layer) {
        Set<String> keys = new LinkedHashSet<>();
        keys.add(layer + ".weight");
        for (String key : List.of("absmax", "quant_map", "nested_absmax", "nested_quant_map")) {
            keys.add(layer + ".weight." + key);
        }
        for (String key : STATE_KEYS) {
            keys.add(layer + ".weight." + key);
        }
        keys.removeIf(key -> !source.contains(key));
        return keys;
    }

    @Override
    public QuantizedWeight load(TensorSource source, String layer, LoadContext context) {
        String name = layer + ".weight";
        List<String> stateKeys = STATE_KEYS.stream().map(key -> name + "." + key).filter(source::contains).toList();
        if (stateKeys.size() != 1) {
            throw new FileFormatException(
                    source.origin()
                            + ": "
                            + name
                            + ": expected exactly one of "
                            + String.join(", ", STATE_KEYS)
                            + ", found "
                            + (stateKeys.isEmpty() ? "none" : "both"));
        }
        QuantState state = QuantState.parse(source.origin(), stateKeys.getFirst(), source.tensor(stateKeys.getFirst()));
        String where = source.origin() + ": " + name;
        BnbQuantizationConfig.check(context.quantizationConfig(), where, state);
        Tensor packed = source.tensor(name);
        checkPacked(where, packed, state);
        checkMap(where + ".quant_map", source.tensor(name + ".quant_map"), state.type());
        BlockAbsmax absmax = absmax(source, name, state);
        FourBitConfig config = new FourBitConfig(state.type(), state.blockSize(), state.nested(), packed.dtype());
        try {
            return new FourBitWeight(
                    config, state.dtype(), state.outFeatures(), state.inFeatures(), packed.segment(), absmax);
        } catch (IllegalArgumentException unfit) {
            throw new FileFormatException(where + ": " + unfit.getMessage(), unfit);
        }
    }

    private static void checkPacked(String where, Tensor packed, QuantState state) {
        DType dtype = packed.dtype();
        if (dtype != DType.U8 && !dtype.isFloat()) {
            throw new FileFormatException(where + ": expected U8 or a float type over packed codes, found " + packed);
        }
        long elements = (long) state.outFeatures() * state.inFeatures();
        long bytes = ((elements + 1) / 2 + dtype.bytes() - 1) / dtype.bytes() * dtype.bytes();
        if (packed.byteSize() != bytes) {
            throw new FileFormatException(
                    where
                            + ": expected "
                            + bytes
                            + " bytes of codes for ("
                            + state.outFeatures()
                            + ", "
                            + state.inFeatures()
                            + "), found "
                            + packed.byteSize()
                            + "; the file is damaged");
        }
    }

    private static void checkMap(String where, Tensor map, FourBitType type) {
        float[] values = floats(where, map);
        boolean same = values.length == 16;
        for (int code = 0; same && code < 16; code++) {
            same = Math.abs(values[code] - type.value(code)) <= MAP_TOLERANCE;
        }
        if (!same) {
            throw new FileFormatException(where + ": expected the 16 values of " + type.key() + ", found others");
        }
    }

    private static BlockAbsmax absmax(TensorSource source, String name, QuantState state) {
        String key = name + ".absmax";
        String where = source.origin() + ": " + key;
        Tensor absmax = source.tensor(key);
        if (absmax.dtype() != (state.nested() ? DType.U8 : DType.F32)) {
            throw new FileFormatException(
                    where
                            + ": expected "
                            + (state.nested() ? "U8 codes (double quantization)" : "F32 values")
                            + ", found "
                            + absmax);
        }
        if (!state.nested()) {
            checkFinite(where, absmax);
            return BlockAbsmax.plain(absmax.segment());
        }
        float[] nestedAbsmax =
                floats(source.origin() + ": " + name + ".nested_absmax", source.tensor(name + ".nested_absmax"));
        float[] nestedMap =
                floats(source.origin() + ": " + name + ".nested_quant_map", source.tensor(name + ".nested_quant_map"));
        try {
            return BlockAbsmax.nested(
                    absmax.segment(), nestedMap, nestedAbsmax, state.nestedBlockSize(), state.nestedOffset());
        } catch (IllegalArgumentException unfit) {
            throw new FileFormatException(source.origin() + ": " + name + "." + unfit.getMessage(), unfit);
        }
    }

    private static float[] floats(String where, Tensor tensor) {
        if (tensor.dtype() != DType.F32 || tensor.elements() > Integer.MAX_VALUE - 8) {
            throw new FileFormatException(where + ": expected F32 values, found " + tensor);
        }
        checkFinite(where, tensor);
        float[] values = new float[(int) tensor.elements()];
        for (int i = 0; i < values.length; i++) {
            values[i] = tensor.getFloat(i);
        }
        return values;
    }

    static void checkFinite(String where, Tensor tensor) {
        for (long i = 0; i < tensor.elements(); i++) {
            float value = tensor.getFloat(i);
            if (!Float.isFinite(value)) {
                throw new FileFormatException(
                        where + ": expected finite values, found " + value + " at [" + i + "]; the file is damaged");
            }
        }
    }
}
