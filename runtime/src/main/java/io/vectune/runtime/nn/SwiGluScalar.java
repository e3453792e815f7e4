package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;

/// [SwiGlu] in formula order.
final class SwiGluScalar implements SwiGluKernel {
    @Override
    public void forward(Matrix gate, Matrix up, Matrix y, float[] scratch, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            for (int i = 0; i < gate.columns(); i++) {
                float z = gate.segment().get(FLOAT, gate.rowOffset(row) + 4L * i);
                float u = up.segment().get(FLOAT, up.rowOffset(row) + 4L * i);
                y.segment().set(FLOAT, y.rowOffset(row) + 4L * i, z * Exp.sigmoid(z) * u);
            }
        }
    }

    @Override
    public void backward(
            Matrix gate,
            Matrix up,
            Matrix gradY,
            Matrix gradGate,
            Matrix gradUp,
            float[] scratch,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            for (int i = 0; i < gate.columns(); i++) {
                float z = gate.segment().get(FLOAT, gate.rowOffset(row) + 4L * i);
                float u = up.segment().get(FLOAT, up.rowOffset(row) + 4L * i);
                float g = gradY.segment().get(FLOAT, gradY.rowOffset(row) + 4L * i);
                float s = Exp.sigmoid(z);
                float silu = z * s;
                float slope = Math.fma(silu, 1 - s, s);
                gradGate.segment().set(FLOAT, gradGate.rowOffset(row) + 4L * i, g * u * slope);
                gradUp.segment().set(FLOAT, gradUp.rowOffset(row) + 4L * i, g * silu);
            }
        }
    }
}
