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
            for (int i = 0; i < ELEMENTS; i += COUNT) {
                values(segment, at, i).intoArray(tile, tileOffset + block * ELEMENTS + i);
            }
        }
    }

    private static FloatVector values(MemorySegment segment, long at, int i) {
        int group = unsignedByte(segment, at + i / 16);
        float scale = half(segment, at + SUPER_SCALE) * (group & 15);
        float minimum = half(segment, at + SUPER_MINIMUM) * (group >>> 4);
        IntVector codes =
                Lanes.unsignedBytes(segment, at + CODES + 32L * (i / 128) + i % 32)
                        .lanewise(VectorOperators.LSHR, 2 * (i % 128 / 32))
                        .and(3);
        return Lanes.toFloat(codes).fma(FloatVector.broadcast(F32, scale), FloatVector.broadcast(F32, -minimum));
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
            for (int i = 0; i < ELEMENTS; i += COUNT) {
                FloatVector input = FloatVector.fromArray(F32, x, xOffset + block * ELEMENTS + i);
                sum = values(segment, at, i).fma(input, sum);
            }
        }
        return Lanes.sum(sum);
    }
}
