package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;

/// [Gelu] in formula order.
final class GeluScalar implements GeluKernel {
    @Override
    public void forward(Matrix x, Matrix y, float[] scratch, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            forwardRow(x, y, row);
        }
    }

    private static void forwardRow(Matrix x, Matrix y, int row) {
        for (int i = 0; i < x.columns(); i++) {
            float value = x.segment().get(FLOAT, x.rowOffset(row) + 4L * i);
            float u = value * Math.fma(value * value, Gelu.TWICE_CUBIC, Gelu.TWICE_FACTOR);
            y.segment().set(FLOAT, y.rowOffset(row) + 4L * i, value * Exp.sigmoid(u));
        }
    }

    @Override
    public void backward(Matrix x, Matrix gradY, Matrix gradX, float[] scratch, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            backwardRow(x, gradY, gradX, row);
        }
    }

    private static void backwardRow(Matrix x, Matrix gradY, Matrix gradX, int row) {
        for (int i = 0; i < x.columns(); i++) {
            float value = x.segment().get(FLOAT, x.rowOffset(row) + 4L * i);
            float g = gradY.segment().get(FLOAT, gradY.rowOffset(row) + 4L * i);
            float square = value * value;
            float s = Exp.sigmoid(value * Math.fma(square, Gelu.TWICE_CUBIC, Gelu.TWICE_FACTOR));
            float slope = value * Math.fma(square, 3 * Gelu.TWICE_CUBIC, Gelu.TWICE_FACTOR);
            float inner = Math.fma(slope, 1 - s, 1f);
            gradX.segment().set(FLOAT, gradX.rowOffset(row) + 4L * i, g * (s * inner));
        }
    }
}
