package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q4_0: 4.5 bits a weight, symmetric.
///
///     w = scale * (code - 8)
///
/// Block     32 elements, 18 bytes: scale f16 | 16 bytes, the low nibble of byte j is element j, the high one j + 16
/// Source    ggml `block_q4_0`
final class BlockQ40 extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ40();

    private static final int ELEMENTS = 32;
    private static final int BYTES = 18;
    private static final int CODES = 2;

    private BlockQ40() {
        super(ELEMENTS, false, 8);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        return unsignedByte(segment, block + CODES + i % 16) >>> (4 * (i / 16)) & 15;
    }

    @Override
    float scale(MemorySegment segment, long block, int group) {
        return half(segment, block);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int to = tileOffset + block * ELEMENTS;
            FloatVector scale = FloatVector.broadcast(F32, half(segment, at));
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                Lanes.toFloat(pair.and(15).sub(8)).mul(scale).intoArray(tile, to + j);
                Lanes.toFloat(pair.lanewise(VectorOperators.LSHR, 4).sub(8)).mul(scale).intoArray(tile, to + 16 + j);
            }
        }
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
            int from = xOffset + block * ELEMENTS;
            FloatVector part = FloatVector.zero(F32);
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                FloatVector low = Lanes.toFloat(pair.and(15).sub(8));
                FloatVector high = Lanes.toFloat(pair.lanewise(VectorOperators.LSHR, 4).sub(8));
                part = low.fma(FloatVector.fromArray(F32, x, from + j), part);
                part = high.fma(FloatVector.fromArray(F32, x, from + 16 + j), part);
            }
            sum = part.fma(FloatVector.broadcast(F32, half(segment, at)), sum);
        }
        return Lanes.sum(sum);
    }
}
