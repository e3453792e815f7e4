package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;

/// The constants of rounding f32 numbers to a compute type, ties to even, in integer operations on their bits:
///
///     (bits + half + (bits >>> shift & odd)) & keep
///
/// Numbers below `tiny` become multiples of 2^-24 and those from `huge` on infinite, as F16 has them; other types have no
/// such bounds. The same operations for all types, because C2 makes objects of vectors that come out of a branch.
enum RoundingBits {
    F32(0, 0, 0, -1, 0, Float.NaN),
    BF16(16, 0x7FFF, 1, 0xFFFF0000, 0, Float.NaN),
    F16(13, 0xFFF, 1, 0xFFFFE000, 0x1p-14f, 65520);

    private final int shift;
    private final int half;
    private final int odd;
    private final int keep;
    private final float tiny;
    private final float huge;

    RoundingBits(int shift, int half, int odd, int keep, float tiny, float huge) {
        this.shift = shift;
        this.half = half;
        this.odd = odd;
        this.keep = keep;
        this.tiny = tiny;
        this.huge = huge;
    }

    /// Those of a compute type.
    static RoundingBits of(DType type) {
        return type == DType.F32 ? F32 : type == DType.BF16 ? BF16 : F16;
    }

    /// Bits that the type does not have.
    int shift() {
        return shift;
    }

    /// Just below half a unit in the last place.
    int half() {
        return half;
    }

    /// The mask of the last bit kept, once shifted down.
    int odd() {
        return odd;
    }

    /// The mask of the bits kept.
    int keep() {
        return keep;
    }

    /// The least normal number; 0 for types with the exponents of f32.
    float tiny() {
        return tiny;
    }

    /// The least number that rounds to infinity; NaN for types with the exponents of f32.
    float huge() {
        return huge;
    }

    /// The type.
    DType type() {
        return this == F32 ? DType.F32 : this == BF16 ? DType.BF16 : DType.F16;
    }
}
