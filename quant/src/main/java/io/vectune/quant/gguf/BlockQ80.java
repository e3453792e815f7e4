package io.vectune.quant.gguf;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Q8_0: 8.5 bits a weight, symmetric.
///
///     w = code * scale
///
/// Block     32 elements, 34 bytes: scale f16 | 32 signed bytes
/// Source    ggml `block_q8_0`
final class BlockQ80 extends GgufBlockFormat {
    static final GgufBlockFormat FORMAT = new BlockQ80();

    private static final int ELEMENTS = 32;
    private static final int BYTES = 34;
    private static final int CODES = 2;

    /// What makes signed bytes codes of 0 to 255.
    private static final int CENTER = 128;

    private BlockQ80() {
        super(ELEMENTS, false, CENTER);
    }

    @Override
    int code(MemorySegment segment, long block, int i) {
        return segment.get(Tensor.BYTE, block + CODES + i) + CENTER;
    }

    @Override
    float scale(MemorySegment segment, long block, int group) {
        return half(segment, block);
    }

    @Override
    void decode(MemorySegment segment, long offset, int blocks, float[] tile, int tileOffset) {
        for (int block = 0; block < blocks; block++) {
            long at = offset + (long) block * BYTES;
            FloatVector scale = FloatVector.broadcast(F32, half(segment, at));
            for (int j = 0; j < ELEMENTS; j += COUNT) {
                Lanes.toFloat(Lanes.signedBytes(segment, at + CODES + j))
                        .mul(scale)
                        .intoArray(tile, tileOffset + block * ELEMENTS + j);
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
            FloatVector part = FloatVector.zero(F32);
            for (int j = 0; j < ELEMENTS; j += COUNT) {
                FloatVector values = FloatVector.fromArray(F32, x, xOffset + block * ELEMENTS + j);
                part = Lanes.toFloat(Lanes.signedBytes(segment, at + CODES + j)).fma(values, part);
            }
            sum = part.fma(FloatVector.broadcast(F32, half(segment, at)), sum);
        }
        return Lanes.sum(sum);
    }
}
