package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q2_K: 2.625 bits a weight; 16 groups of 16 elements with 4-bit scales and minimums.
///
///     w = (superScale * scale[g]) * code - (superMinimum * minimum[g])      g = element / 16
///
/// Block     256 elements, 84 bytes: 16 bytes, scale in the low nibble and minimum in the high one | 64 bytes: byte
///           32 h + j holds elements 128 h + 32 q + j in the bits from 2 q | superScale f16 | superMinimum f16
/// Source    ggml `block_q2_K`
final class BlockQ2K extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ2K();

    private static final int ELEMENTS = 256;
    private static final int BYTES = 84;
    private static final int CODES = 16;
    private static final int SUPER_SCALE = 80;
    private static final int SUPER_MINIMUM = 82;

    private BlockQ2K() {
        super(16, true, 2);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        return unsignedByte(segment, block + CODES + 32L * (i / 128) + i % 32) >>> (2 * (i % 128 / 32)) & 3;
    }

    @Override
    float scale(MemorySegment segment, long block, int group) {
        return half(segment, block + SUPER_SCALE) * (unsignedByte(segment, block + group) & 15);
    }

    @Override
    float minimum(MemorySegment segment, long block, int group) {
        return -(half(segment, block + SUPER_MINIMUM) * (unsignedByte(segment, block + group) >>> 4));
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            float superScale = half(segment, at + SUPER_SCALE);
            float superMinimum = half(segment, at + SUPER_MINIMUM);
            for (int half = 0; half < 2; half++) {
                long groups = segment.get(Tensor.LONG, at + 8L * half);
                int to = tileOffset + block * ELEMENTS + 128 * half;
                for (int j = 0; j < 32; j += COUNT) {
                    IntVector codes = Lanes.unsignedBytes(segment, at + CODES + 32L * half + j);
                    long of = groups >>> (j / 16 * 8);
                    values(codes, 0, of, superScale, superMinimum).intoArray(tile, to + j);
                    values(codes, 2, of >>> 16, superScale, superMinimum).intoArray(tile, to + 32 + j);
                    values(codes, 4, of >>> 32, superScale, superMinimum).intoArray(tile, to + 64 + j);
                    values(codes, 6, of >>> 48, superScale, superMinimum).intoArray(tile, to + 96 + j);
                }
            }
        }
    }

    /// Weights of one group, whose scale and minimum are in the low byte of `group`.
    private static FloatVector values(IntVector codes, int shift, long group, float superScale, float superMinimum) {
        float scale = superScale * (int) (group & 15);
        float minimum = -(superMinimum * (int) ((group >>> 4) & 15));
        return Lanes.toFloat(codes.lanewise(VectorOperators.LSHR, shift).and(3))
                .fma(FloatVector.broadcast(F32, scale), FloatVector.broadcast(F32, minimum));
    }

    private static FloatVector values(MemorySegment segment, long at, int i, float scale, float minimum) {
        IntVector codes =
                Lanes.unsignedBytes(segment, at + CODES + 32L * (i / 128) + i % 32)
                        .lanewise(VectorOperators.LSHR, 2 * (i % 128 / 32))
                        .and(3);
        return Lanes.toFloat(codes).fma(FloatVector.broadcast(F32, scale), FloatVector.broadcast(F32, minimum));
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
            float superMinimum = half(segment, at + SUPER_MINIMUM);
            for (int half = 0; half < 2; half++) {
                long groups = segment.get(Tensor.LONG, at + 8L * half);
                for (int i = 128 * half; i < 128 * (half + 1); i += COUNT) {
                    FloatVector input = FloatVector.fromArray(F32, x, xOffset + block * ELEMENTS + i);
                    int group = byteOf(groups, i / 16 % 8);
                    sum =
                            values(segment, at, i, superScale * (group & 15), -(superMinimum * (group >>> 4)))
                                    .fma(input, sum);
                }
            }
        }
        return Lanes.sum(sum);
    }
}
