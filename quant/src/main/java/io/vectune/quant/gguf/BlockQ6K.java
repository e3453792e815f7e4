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

    private static final int CENTER = 32;

    private BlockQ6K() {
        super(16, false, CENTER);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        int half = i / 128;
        int quarter = i % 128 / 32;
        int low = unsignedByte(segment, block + 64L * half + i % 64) >>> (4 * (quarter / 2)) & 15;
        int high = unsignedByte(segment, block + HIGH_BITS + 32L * half + i % 32) >>> (2 * quarter) & 3;
        return low | (high << 4);
    }

    @Override
    float scale(MemorySegment segment, long block, int group) {
        return half(segment, block + SUPER_SCALE) * segment.get(Tensor.BYTE, block + SCALES + group);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            for (int part = 0; part < 4; part++) {
                int half = part / 2;
                int quarter = part % 2;
                int to = tileOffset + block * ELEMENTS + 128 * half + 32 * quarter;
                decodeQuarters(segment, at, half, quarter, superScale, tile, to);
            }
        }
    }

    /// Quarters q and q + 2 of a half, whose low nibbles lie in the same bytes. All four in one loop are more than C2
    /// compiles without objects.
    private static void decodeQuarters(
            MemorySegment segment, long at, int half, int quarter, float superScale, float[] tile, int to) {
        long scales = segment.get(Tensor.LONG, at + SCALES + 8L * half) >>> (16 * quarter);
        for (int j = 0; j < 32; j += COUNT) {
            IntVector pair = Lanes.unsignedBytes(segment, at + 64L * half + 32L * quarter + j);
            IntVector high =
                    Lanes.unsignedBytes(segment, at + HIGH_BITS + 32L * half + j)
                            .lanewise(VectorOperators.LSHR, 2 * quarter);
            long of = scales >>> (j / 16 * 8);
            values(pair.and(15), high.lanewise(VectorOperators.LSHL, 4), of, superScale).intoArray(tile, to + j);
            values(pair.lanewise(VectorOperators.LSHR, 4), high, of >>> 32, superScale).intoArray(tile, to + 64 + j);
        }
    }

    /// Weights of one group, whose scale is the low byte of `group`.
    ///
    /// @param low the low four bits of each code
    /// @param high the other two in place, among others
    private static FloatVector values(IntVector low, IntVector high, long group, float superScale) {
        return Lanes.toFloat(low.or(high.and(48)).sub(CENTER))
                .mul(FloatVector.broadcast(F32, superScale * (byte) group));
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
        FloatVector sum = FloatVector.zero(F32);
        for (int part = 0; part < 8 * blocks; part++) {
            int half = part / 4 % 2;
            int quarter = part % 4;
            long at = offset + (long) (part / 8) * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            long low = at + 64L * half + 32L * (quarter & 1);
            long high = at + HIGH_BITS + 32L * half;
            long scales = at + SCALES + 8L * half + 2L * quarter;
            for (int j = 0; j < 32; j += COUNT) {
                IntVector nibbles =
                        Lanes.unsignedBytes(segment, low + j).lanewise(VectorOperators.LSHR, quarter / 2 * 4);
                IntVector bits = Lanes.unsignedBytes(segment, high + j).lanewise(VectorOperators.LSHR, 2 * quarter);
                IntVector code = bits.and(3).lanewise(VectorOperators.LSHL, 4).or(nibbles.and(15)).sub(CENTER);
                float scale = superScale * segment.get(Tensor.BYTE, scales + j / 16);
                sum = Lanes.toFloat(code).mul(scale).fma(FloatVector.fromArray(F32, x, xOffset + 32 * part + j), sum);
            }
        }
        return Lanes.sum(sum);
    }
}
