package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;

/// [RotaryPairs] in formula order.
final class RotaryPairsScalar implements RotaryPairsKernel {
    @Override
    public void rotate(Matrix x, int headDim, float[] cosines, float[] sines, boolean inverse, int rowFrom, int rowTo) {
        float sign = inverse ? -1 : 1;
        for (int row = rowFrom; row < rowTo; row++) {
            for (int head = 0; head < x.columns(); head += headDim) {
                long at = x.rowOffset(row) + 4L * head;
                rotateHead(x.segment(), at, headDim, cosines, sines, row * headDim, sign, 0);
            }
        }
    }

    static void rotateHead(
            MemorySegment xs, long at, int headDim, float[] cosines, float[] sines, int table, float sign, int from) {
        for (int i = from; i < headDim; i += 2) {
            float first = xs.get(FLOAT, at + 4L * i);
            float second = xs.get(FLOAT, at + 4L * (i + 1));
            float cos = cosines[table + i];
            xs.set(FLOAT, at + 4L * i, Math.fma(first, cos, second * (sines[table + i] * sign)));
            xs.set(FLOAT, at + 4L * (i + 1), Math.fma(second, cos, first * (sines[table + i + 1] * sign)));
        }
    }
}
