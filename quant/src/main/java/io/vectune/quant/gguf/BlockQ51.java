package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q5_1: 6 bits a weight, with a minimum.
///
///     w = scale * code + minimum
///
/// Block     32 elements, 24 bytes: scale f16 | minimum f16 | 32 high bits, bit i of element i | 16 bytes of low nibbles,
///           the low one of byte j is element j, the high one j + 16
/// Source    ggml `block_q5_1`
final class BlockQ51 extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ51();

    private static final int ELEMENTS = 32;
    private static final int BYTES = 24;
    private static final int MINIMUM = 2;
    private static final int HIGH_BITS = 4;
    private static final int CODES = 8;

    private BlockQ51() {
        super(ELEMENTS, true, 16);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        int high = segment.get(Tensor.INT, block + HIGH_BITS) >>> i & 1;
        return (unsignedByte(segment, block + CODES + i % 16) >>> (4 * (i / 16)) & 15) | (high << 4);
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
            int bits = segment.get(Tensor.INT, at + HIGH_BITS);
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                IntVector low = pair.and(15).or(Lanes.bits(bits >>> j).lanewise(VectorOperators.LSHL, 4));
                IntVector high =
                        pair.lanewise(VectorOperators.LSHR, 4)
                                .or(Lanes.bits(bits >>> (16 + j)).lanewise(VectorOperators.LSHL, 4));
                Lanes.toFloat(low).fma(scale, minimum).intoArray(tile, to + j);
                Lanes.toFloat(high).fma(scale, minimum).intoArray(tile, to + 16 + j);
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
            int bits = segment.get(Tensor.INT, at + HIGH_BITS);
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                IntVector low = pair.and(15).or(Lanes.bits(bits >>> j).lanewise(VectorOperators.LSHL, 4));
                IntVector high =
                        pair.lanewise(VectorOperators.LSHR, 4)
                                .or(Lanes.bits(bits >>> (16 + j)).lanewise(VectorOperators.LSHL, 4));
                FloatVector lowValues = Lanes.toFloat(low).fma(scale, minimum);
                FloatVector highValues = Lanes.toFloat(high).fma(scale, minimum);
                first = lowValues.fma(FloatVector.fromArray(F32, x, from + j), first);
                second = highValues.fma(FloatVector.fromArray(F32, x, from + 16 + j), second);
            }
        }
        return Lanes.sum(first.add(second));
    }
}
