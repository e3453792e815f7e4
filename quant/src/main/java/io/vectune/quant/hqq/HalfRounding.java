package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;

/// Rounding of f32 values to the nearest value of a narrower float type, ties to even, as torch rounds the result of
/// each elementwise operation on f16 and bf16 tensors.
final class HalfRounding {
    private HalfRounding() {}

    /// `value` rounded to F32 (unchanged), F16 or BF16.
    static float round(float value, DType type) {
        return switch (type) {
            case F16 -> Float.float16ToFloat(Float.floatToFloat16(value));
            case BF16 -> roundBf16(value);
            default -> value;
        };
    }

    /// `value` rounded to BF16.
    static float roundBf16(float value) {
        if (Float.isNaN(value)) {
            return Float.NaN;
        }
        int bits = Float.floatToRawIntBits(value);
        return Float.intBitsToFloat((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000);
    }

    /// The bits of `value`, which is a BF16 value.
    static short bf16Bits(float value) {
        return (short) (Float.floatToRawIntBits(value) >>> 16);
    }

    /// Sets an element of an F32, F16 or BF16 tensor to a value of that type.
    static void store(Tensor tensor, long index, float value) {
        switch (tensor.dtype()) {
            case F16 -> tensor.segment().set(Tensor.SHORT, 2 * index, Float.floatToFloat16(value));
            case BF16 -> tensor.segment().set(Tensor.SHORT, 2 * index, bf16Bits(value));
            default -> tensor.setFloat(index, value);
        }
    }
}
