package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;

/// [SwiGlu] in formula order.
final class SwiGluScalar implements SwiGluKernel {
    @Override
    public void forward(Matrix gate, Matrix up, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            forwardRow(gate, up, y, row, 0);
        }
    }

    static void forwardRow(Matrix gate, Matrix up, Matrix y, int row, int columnFrom) {
        for (int i = columnFrom; i < gate.columns(); i++) {
            float z = gate.segment().get(FLOAT, gate.rowOffset(row) + 4L * i);
            float silu = z * Exp.sigmoid(z);
            y.segment()
                    .set(FLOAT, y.rowOffset(row) + 4L * i, silu * up.segment().get(FLOAT, up.rowOffset(row) + 4L * i));
        }
    }

    @Override
    public void backward(Matrix gate, Matrix up, Matrix gradY, Matrix gradGate, Matrix gradUp, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            backwardRow(gate, up, gradY, gradGate, gradUp, row, 0);
        }
    }

    static void backwardRow(
            Matrix gate, Matrix up, Matrix gradY, Matrix gradGate, Matrix gradUp, int row, int columnFrom) {
        for (int i = columnFrom; i < gate.columns(); i++) {
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
