package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// [RotaryTable] in vectors over one half of a head.
final class RotaryVector implements RotaryKernel {
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
        int half = headDim / 2;
        float sign = inverse ? -1 : 1;
        for (int row = rowFrom; row < rowTo; row++) {
            for (int head = 0; head < x.columns(); head += headDim) {
                long at = x.rowOffset(row) + 4L * head;
                rotateHead(x.segment(), at, half, cosines, sines, positions[row] * half, sign);
            }
        }
    }

    private static void rotateHead(
            MemorySegment xs, long at, int half, float[] cosines, float[] sines, int table, float sign) {
        int i = 0;
        for (; i <= half - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector cos = FloatVector.fromArray(SPECIES, cosines, table + i);
            FloatVector sin = FloatVector.fromArray(SPECIES, sines, table + i).mul(sign);
            FloatVector first = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER);
            FloatVector second = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * (half + i), ORDER);
            FloatVector negated = FloatVector.fromArray(SPECIES, sines, table + i).mul(-sign);
            first.fma(cos, second.mul(negated)).intoMemorySegment(xs, at + 4L * i, ORDER);
            second.fma(cos, first.mul(sin)).intoMemorySegment(xs, at + 4L * (half + i), ORDER);
        }
        for (; i < half; i++) {
            float cos = cosines[table + i];
            float sin = sines[table + i] * sign;
            float first = xs.get(FLOAT, at + 4L * i);
            float second = xs.get(FLOAT, at + 4L * (half + i));
            xs.set(FLOAT, at + 4L * i, Math.fma(first, cos, -(second * sin)));
            xs.set(FLOAT, at + 4L * (half + i), Math.fma(second, cos, first * sin));
        }
    }
}
