package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q3_K: 3.4375 bits a weight; 16 groups of 16 elements with 6-bit scales.
///
///     w = (superScale * (scale[g] - 32)) * (code - 4 * (1 - highBit))      g = element / 16
///
/// Block     256 elements, 110 bytes: 32 bytes, bit i / 32 of byte i % 32 is the high bit of element i | 64 bytes: byte
///           32 h + j holds the low 2 bits of elements 128 h + 32 q + j from bit 2 q | 12 bytes of scales: low 4 bits
///           of scale k in the nibbles of bytes 0..7 (k < 8 low, else high), high 2 bits in byte 8 + k % 4 from bit
///           2 (k / 4) | superScale f16
/// Source    ggml `block_q3_K`
final class BlockQ3K extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ3K();

    private static final int ELEMENTS = 256;
    private static final int BYTES = 110;
    private static final int CODES = 32;
    private static final int SCALES = 96;
    private static final int SUPER_SCALE = 108;

    private BlockQ3K() {
        super(16, false, 4);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        int low = unsignedByte(segment, block + CODES + 32L * (i / 128) + i % 32) >>> (2 * (i % 128 / 32)) & 3;
        int high = unsignedByte(segment, block + i % 32) >>> (i / 32) & 1;
        return low | (high << 2);
    }

    @Override
    float scale(MemorySegment segment, long block, int group) {
        int low = unsignedByte(segment, block + SCALES + group % 8) >>> (4 * (group / 8)) & 15;
        int high = unsignedByte(segment, block + SCALES + 8 + group % 4) >>> (2 * (group / 4)) & 3;
        return half(segment, block + SUPER_SCALE) * ((low | (high << 4)) - 32);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            for (int part = 0; part < 4; part++) {
                int to = tileOffset + block * ELEMENTS + 64 * part;
                decodeQuarters(segment, at, part / 2, part % 2 * 2, superScale, tile, to);
            }
        }
    }

    /// Two quarters of a half, 64 elements whose codes lie in the same bytes. All four in one loop are more than C2
    /// compiles without objects.
    private static void decodeQuarters(
            MemorySegment segment, long at, int half, int quarter, float superScale, float[] tile, int to) {
        long scales = scales(segment, at, half) >>> (16 * quarter);
        for (int j = 0; j < 32; j += COUNT) {
            IntVector low =
                    Lanes.unsignedBytes(segment, at + CODES + 32L * half + j)
                            .lanewise(VectorOperators.LSHR, 2 * quarter);
            IntVector high = Lanes.unsignedBytes(segment, at + j).lanewise(VectorOperators.LSHR, 4 * half + quarter);
            long of = scales >>> (j / 16 * 8);
            values(low.and(3), high.lanewise(VectorOperators.LSHL, 2), of, superScale).intoArray(tile, to + j);
            values(
                            low.lanewise(VectorOperators.LSHR, 2).and(3),
                            high.lanewise(VectorOperators.LSHL, 1),
                            of >>> 16,
                            superScale)
                    .intoArray(tile, to + 32 + j);
        }
    }

    /// The codes of the scales of groups 8 half to 8 half + 7, a byte each.
    private static long scales(MemorySegment segment, long at, int half) {
        long low = (segment.get(Tensor.LONG, at + SCALES) >>> (4 * half)) & 0x0F0F0F0F0F0F0F0FL;
        int pairs = segment.get(Tensor.INT, at + SCALES + 8) >>> (4 * half);
        long high = (pairs & 0x03030303) | ((long) ((pairs >>> 2) & 0x03030303) << 32);
        return low | (high << 4);
    }

    /// Weights of one group, the code of whose scale is the low byte of `group`.
    ///
    /// @param low the low two bits of each code
    /// @param high the third one in place, among others
    private static FloatVector values(IntVector low, IntVector high, long group, float superScale) {
        float scale = superScale * ((int) (group & 0xFF) - 32);
        return Lanes.toFloat(low.or(high.and(4)).sub(4)).mul(FloatVector.broadcast(F32, scale));
    }

    private static FloatVector values(MemorySegment segment, long at, int i, float scale) {
        IntVector low =
                Lanes.unsignedBytes(segment, at + CODES + 32L * (i / 128) + i % 32)
                        .lanewise(VectorOperators.LSHR, 2 * (i % 128 / 32))
                        .and(3);
        IntVector high = Lanes.unsignedBytes(segment, at + i % 32).lanewise(VectorOperators.LSHR, i / 32).and(1);
        IntVector codes = low.or(high.lanewise(VectorOperators.LSHL, 2)).sub(4);
        return Lanes.toFloat(codes).mul(FloatVector.broadcast(F32, scale));
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
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            for (int half = 0; half < 2; half++) {
                long scales = scales(segment, at, half);
                for (int i = 128 * half; i < 128 * (half + 1); i += COUNT) {
                    FloatVector input = FloatVector.fromArray(F32, x, xOffset + block * ELEMENTS + i);
                    float scale = superScale * (byteOf(scales, i / 16 % 8) - 32);
                    sum = values(segment, at, i, scale).fma(input, sum);
                }
            }
        }
        return Lanes.sum(sum);
    }
}
