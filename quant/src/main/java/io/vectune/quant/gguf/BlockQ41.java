package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q4_1: 5 bits a weight, with a minimum.
///
///     w = scale * code + minimum
///
/// Block     32 elements, 20 bytes: scale f16 | minimum f16 | 16 bytes, the low nibble of byte j is element j, the high
///           one j + 16
/// Source    ggml `block_q4_1`
final class BlockQ41 extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ41();

    private static final int ELEMENTS = 32;
    private static final int BYTES = 20;
    private static final int MINIMUM = 2;
    private static final int CODES = 4;

    private BlockQ41() {
        super(ELEMENTS, true, 8);
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
    float minimum(MemorySegment segment, long block, int group) {
        return half(segment, block + MINIMUM);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int to = tileOffset + block * ELEMENTS;
            FloatVector scale = FloatVector.broadcast(F32, half(segment, at));
            FloatVector minimum = FloatVector.broadcast(F32, half(segment, at + MINIMUM));
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                Lanes.toFloat(pair.and(15)).fma(scale, minimum).intoArray(tile, to + j);
                Lanes.toFloat(pair.lanewise(VectorOperators.LSHR, 4)).fma(scale, minimum).intoArray(tile, to + 16 + j);
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
        FloatVector first = FloatVector.zero(F32);
        FloatVector second = FloatVector.zero(F32);
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int from = xOffset + block * ELEMENTS;
            FloatVector scale = FloatVector.broadcast(F32, half(segment, at));
            FloatVector minimum = FloatVector.broadcast(F32, half(segment, at + MINIMUM));
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                FloatVector low = Lanes.toFloat(pair.and(15)).fma(scale, minimum);
                FloatVector high = Lanes.toFloat(pair.lanewise(VectorOperators.LSHR, 4)).fma(scale, minimum);
                first = low.fma(FloatVector.fromArray(F32, x, from + j), first);
                second = high.fma(FloatVector.fromArray(F32, x, from + 16 + j), second);
            }
        }
        return Lanes.sum(first.add(second));
    }
}
