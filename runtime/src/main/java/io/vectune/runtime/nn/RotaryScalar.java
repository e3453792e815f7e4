package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;

/// [RotaryTable] in formula order.
final class RotaryScalar implements RotaryKernel {
    @Override
    public void rotate(
            Matrix x,
            int headDim,
            float[] cosines,
            float[] sines,
            int[] positions,
            boolean inverse,
            int rowFrom,
            int rowTo) {
        MemorySegment xs = x.segment();
        int half = headDim / 2;
        for (int row = rowFrom; row < rowTo; row++) {
            int table = positions[row] * half;
            for (int head = 0; head < x.columns(); head += headDim) {
                long at = x.rowOffset(row) + 4L * head;
                for (int i = 0; i < half; i++) {
                    float cos = cosines[table + i];
                    float sin = inverse ? -sines[table + i] : sines[table + i];
                    float first = xs.get(FLOAT, at + 4L * i);
                    float second = xs.get(FLOAT, at + 4L * (half + i));
                    xs.set(FLOAT, at + 4L * i, Math.fma(first, cos, -(second * sin)));
                    xs.set(FLOAT, at + 4L * (half + i), Math.fma(second, cos, first * sin));
                }
            }
        }
    }
}
