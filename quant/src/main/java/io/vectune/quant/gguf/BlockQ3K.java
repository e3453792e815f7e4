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
            for (int i = 0; i < ELEMENTS; i += COUNT) {
                values(segment, at, i).intoArray(tile, tileOffset + block * ELEMENTS + i);
            }
        }
    }

    private FloatVector values(MemorySegment segment, long at, int i) {
        IntVector low =
                Lanes.unsignedBytes(segment, at + CODES + 32L * (i / 128) + i % 32)
                        .lanewise(VectorOperators.LSHR, 2 * (i % 128 / 32))
                        .and(3);
        IntVector high = Lanes.unsignedBytes(segment, at + i % 32).lanewise(VectorOperators.LSHR, i / 32).and(1);
        IntVector codes = low.or(high.lanewise(VectorOperators.LSHL, 2)).sub(4);
        return Lanes.toFloat(codes).mul(FloatVector.broadcast(F32, scale(segment, at, i / 16)));
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

    private float dot(MemorySegment segment, long offset, int blocks, float[] x, int xOffset) {
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
