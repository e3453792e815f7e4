package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// What the kernels read of a weight: packed words, and scale and zero point of each group as f32.
///
/// @param geometry where codes and groups lie
/// @param words number of words; also the elements of one slot
/// @param groups number of groups
/// @param packed the words
/// @param scale f32 [groups], followed by [#PADDING] floats that vector loads may touch
/// @param zeroPoint f32 [groups], padded alike
/// @param computeDtype the type whose rounding dequantization applies after the subtraction and after the product
record HqqCodes(
        HqqGeometry geometry,
        long words,
        int groups,
        MemorySegment packed,
        MemorySegment scale,
        MemorySegment zeroPoint,
        DType computeDtype) {
    /// Floats behind the last scale and zero point.
    static final int PADDING = 16;

    /// The word of that index, as an unsigned number.
    int word(long index) {
        return geometry.packing() == HqqPacking.I32_3
                ? packed.get(Tensor.INT, 4 * index)
                : packed.get(Tensor.BYTE, index) & 0xFF;
    }

    /// The code of the element with that row-major index.
    int code(long flat) {
        HqqPacking packing = geometry.packing();
        int slot = (int) (flat / words);
        return (word(flat - slot * words) >>> packing.shift(slot)) & packing.mask();
    }

    float scale(int group) {
        return scale.get(Tensor.FLOAT, 4L * group);
    }

    float zeroPoint(int group) {
        return zeroPoint.get(Tensor.FLOAT, 4L * group);
    }
}
