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

    private BlockQ80() {}

    @Override
    float value(MemorySegment segment, long block, int i) {
        return segment.get(Tensor.BYTE, block + CODES + i) * half(segment, block);
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
        if (COUNT == ELEMENTS / 2) {
            for (int row = 0; row < rows; row += 2) {
                int next = Math.min(row + 1, rows - 1);
                long first = offset + row * rowBytes;
                long second = offset + next * rowBytes;
                twoRows(segment, first, second, blocks, x, xOffset, y, yOffset + 4L * row, yOffset + 4L * next);
            }
            return;
        }
        for (int row = 0; row < rows; row++) {
            y.set(Tensor.FLOAT, yOffset + 4L * row, dot(segment, offset + row * rowBytes, blocks, x, xOffset));
        }
    }

    /// Two rows with 16 lanes, which share the loads of x; a row alone is given twice.
    private static void twoRows(
            MemorySegment segment,
            long first,
            long second,
            int blocks,
            float[] x,
            int xOffset,
            MemorySegment y,
            long toFirst,
            long toSecond) {
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        for (int block = 0; block < blocks; block++) {
            long at0 = first + (long) BYTES * block;
            long at1 = second + (long) BYTES * block;
            FloatVector x0 = FloatVector.fromArray(F32, x, xOffset + ELEMENTS * block);
            FloatVector x1 = FloatVector.fromArray(F32, x, xOffset + ELEMENTS * block + COUNT);
            FloatVector part0 = Lanes.toFloat(Lanes.signedBytes(segment, at0 + CODES)).mul(x0);
            FloatVector part1 = Lanes.toFloat(Lanes.signedBytes(segment, at1 + CODES)).mul(x0);
            part0 = Lanes.toFloat(Lanes.signedBytes(segment, at0 + CODES + COUNT)).fma(x1, part0);
            part1 = Lanes.toFloat(Lanes.signedBytes(segment, at1 + CODES + COUNT)).fma(x1, part1);
            sum0 = part0.fma(FloatVector.broadcast(F32, half(segment, at0)), sum0);
            sum1 = part1.fma(FloatVector.broadcast(F32, half(segment, at1)), sum1);
        }
        y.set(Tensor.FLOAT, toFirst, Lanes.sum(sum0));
        y.set(Tensor.FLOAT, toSecond, Lanes.sum(sum1));
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
