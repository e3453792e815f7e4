package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// Q5_0: 5.5 bits a weight, symmetric.
///
///     w = scale * (code - 16)
///
/// Block     32 elements, 22 bytes: scale f16 | 32 high bits, bit i of element i | 16 bytes of low nibbles, the low one of
///           byte j is element j, the high one j + 16
/// Source    ggml `block_q5_0`
final class BlockQ50 extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ50();

    private static final int ELEMENTS = 32;
    private static final int BYTES = 22;
    private static final int HIGH_BITS = 2;
    private static final int CODES = 6;

    private BlockQ50() {
        super(ELEMENTS, false, 16);
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
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            int to = tileOffset + block * ELEMENTS;
            FloatVector scale = FloatVector.broadcast(F32, half(segment, at));
            int bits = segment.get(Tensor.INT, at + HIGH_BITS);
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                IntVector low = pair.and(15).or(Lanes.bits(bits >>> j).lanewise(VectorOperators.LSHL, 4));
                IntVector high =
                        pair.lanewise(VectorOperators.LSHR, 4)
                                .or(Lanes.bits(bits >>> (16 + j)).lanewise(VectorOperators.LSHL, 4));
                Lanes.toFloat(low.sub(16)).mul(scale).intoArray(tile, to + j);
                Lanes.toFloat(high.sub(16)).mul(scale).intoArray(tile, to + 16 + j);
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
            int bits = segment.get(Tensor.INT, at + HIGH_BITS);
            FloatVector part = FloatVector.zero(F32);
            for (int j = 0; j < 16; j += COUNT) {
                IntVector pair = Lanes.unsignedBytes(segment, at + CODES + j);
                IntVector low = pair.and(15).or(Lanes.bits(bits >>> j).lanewise(VectorOperators.LSHL, 4));
                IntVector high =
                        pair.lanewise(VectorOperators.LSHR, 4)
                                .or(Lanes.bits(bits >>> (16 + j)).lanewise(VectorOperators.LSHL, 4));
                part = Lanes.toFloat(low.sub(16)).fma(FloatVector.fromArray(F32, x, from + j), part);
                part = Lanes.toFloat(high.sub(16)).fma(FloatVector.fromArray(F32, x, from + 16 + j), part);
            }
            sum = part.fma(FloatVector.broadcast(F32, half(segment, at)), sum);
        }
        return Lanes.sum(sum);
    }
}
