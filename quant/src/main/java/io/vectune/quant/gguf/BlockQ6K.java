package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q6_K: 6.5625 bits a weight; 16 groups of 16 elements with 8-bit scales.
///
///     w = (superScale * scale[g]) * (code - 32)      g = element / 16
///
/// Block     256 elements, 210 bytes: 128 bytes of low nibbles | 64 bytes of high bit pairs | 16 signed scales |
///           superScale f16. Half h, quarter q, element j < 32 of it (element 128 h + 32 q + j): low nibble in byte
///           64 h + 32 (q & 1) + j, the low half of it for q < 2; high bits in byte 32 h + j, from bit 2 q
/// Source    ggml `block_q6_K`
final class BlockQ6K extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ6K();

    private static final int ELEMENTS = 256;
    private static final int BYTES = 210;
    private static final int HIGH_BITS = 128;
    private static final int SCALES = 192;
    private static final int SUPER_SCALE = 208;

    private BlockQ6K() {}

    @Override
    float value(MemorySegment segment, long block, int i) {
        int half = i / 128;
        int quarter = i % 128 / 32;
        int low = unsignedByte(segment, block + 64L * half + i % 64) >>> (4 * (quarter / 2)) & 15;
        int high = unsignedByte(segment, block + HIGH_BITS + 32L * half + i % 32) >>> (2 * quarter) & 3;
        float scale = half(segment, block + SUPER_SCALE) * segment.get(Tensor.BYTE, block + SCALES + i / 16);
        return scale * ((low | (high << 4)) - 32);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            for (int half = 0; half < 2; half++) {
                int to = tileOffset + block * ELEMENTS + 128 * half;
                for (int j = 0; j < 32; j += COUNT) {
                    long scales = at + SCALES + 8L * half + j / 16;
                    IntVector first = Lanes.unsignedBytes(segment, at + 64L * half + j);
                    IntVector second = Lanes.unsignedBytes(segment, at + 64L * half + 32 + j);
                    IntVector high = Lanes.unsignedBytes(segment, at + HIGH_BITS + 32L * half + j);
                    codes(first.and(15), high.lanewise(VectorOperators.LSHL, 4))
                            .mul(scale(segment, scales, superScale))
                            .intoArray(tile, to + j);
                    codes(second.and(15), high.lanewise(VectorOperators.LSHL, 2))
                            .mul(scale(segment, scales + 2, superScale))
                            .intoArray(tile, to + 32 + j);
                    codes(first.lanewise(VectorOperators.LSHR, 4), high)
                            .mul(scale(segment, scales + 4, superScale))
                            .intoArray(tile, to + 64 + j);
                    codes(second.lanewise(VectorOperators.LSHR, 4), high.lanewise(VectorOperators.LSHR, 2))
                            .mul(scale(segment, scales + 6, superScale))
                            .intoArray(tile, to + 96 + j);
                }
            }
        }
    }

    /// low | bits 4 and 5 of `high`, less 32.
    private static FloatVector codes(IntVector low, IntVector high) {
        return Lanes.toFloat(low.or(high.and(0x30)).sub(32));
    }

    private static FloatVector scale(MemorySegment segment, long at, float superScale) {
        return FloatVector.broadcast(F32, superScale * segment.get(Tensor.BYTE, at));
    }

    @Override
    void multiply(
            MemorySegment segment,
            long offset,
            long rowBytes,
            int rows,
            int blocks,
            float[] x,
            int xOffset,
            MemorySegment y,
            long yOffset) {
        for (int row = 0; row < rows; row++) {
            y.set(Tensor.FLOAT, yOffset + 4L * row, dot(segment, offset + row * rowBytes, blocks, x, xOffset));
        }
    }

    private static float dot(MemorySegment segment, long offset, int blocks, float[] x, int xOffset) {
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        FloatVector sum2 = FloatVector.zero(F32);
        FloatVector sum3 = FloatVector.zero(F32);
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            for (int half = 0; half < 2; half++) {
                int from = xOffset + block * ELEMENTS + 128 * half;
                for (int j = 0; j < 32; j += COUNT) {
                    long scales = at + SCALES + 8L * half + j / 16;
                    IntVector first = Lanes.unsignedBytes(segment, at + 64L * half + j);
                    IntVector second = Lanes.unsignedBytes(segment, at + 64L * half + 32 + j);
                    IntVector high = Lanes.unsignedBytes(segment, at + HIGH_BITS + 32L * half + j);
                    sum0 =
                            codes(first.and(15), high.lanewise(VectorOperators.LSHL, 4))
                                    .mul(scale(segment, scales, superScale))
                                    .fma(FloatVector.fromArray(F32, x, from + j), sum0);
                    sum1 =
                            codes(second.and(15), high.lanewise(VectorOperators.LSHL, 2))
                                    .mul(scale(segment, scales + 2, superScale))
                                    .fma(FloatVector.fromArray(F32, x, from + 32 + j), sum1);
                    sum2 =
                            codes(first.lanewise(VectorOperators.LSHR, 4), high)
                                    .mul(scale(segment, scales + 4, superScale))
                                    .fma(FloatVector.fromArray(F32, x, from + 64 + j), sum2);
                    sum3 =
                            codes(second.lanewise(VectorOperators.LSHR, 4), high.lanewise(VectorOperators.LSHR, 2))
                                    .mul(scale(segment, scales + 6, superScale))
                                    .fma(FloatVector.fromArray(F32, x, from + 96 + j), sum3);
                }
            }
        }
        return Lanes.sum(sum0.add(sum1).add(sum2.add(sum3)));
    }
}
