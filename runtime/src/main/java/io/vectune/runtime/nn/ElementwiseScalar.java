package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;

/// [Elementwise] in formula order.
final class ElementwiseScalar implements ElementwiseKernel {
    @Override
    public void addScaled(float alpha, Matrix x, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            addScaledRow(alpha, x, x.rowOffset(row), y, row, 0);
        }
    }

    @Override
    public void addBias(Matrix bias, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            addScaledRow(1, bias, bias.offset(), y, row, 0);
        }
    }

    static void addScaledRow(float alpha, Matrix x, long xAt, Matrix y, int row, int columnFrom) {
        for (int i = columnFrom; i < y.columns(); i++) {
            long at = y.rowOffset(row) + 4L * i;
            y.segment()
                    .set(FLOAT, at, Math.fma(alpha, x.segment().get(FLOAT, xAt + 4L * i), y.segment().get(FLOAT, at)));
        }
    }

    @Override
    public void scale(float alpha, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            scaleRow(alpha, y, row, 0);
        }
    }

    static void scaleRow(float alpha, Matrix y, int row, int columnFrom) {
        for (int i = columnFrom; i < y.columns(); i++) {
            long at = y.rowOffset(row) + 4L * i;
            y.segment().set(FLOAT, at, alpha * y.segment().get(FLOAT, at));
        }
    }

    @Override
    public void addColumnSums(Matrix x, Matrix sums, int columnFrom, int columnTo) {
        for (int row = 0; row < x.rows(); row++) {
            for (int i = columnFrom; i < columnTo; i++) {
                long at = sums.offset() + 4L * i;
                float sum = sums.segment().get(FLOAT, at) + x.segment().get(FLOAT, x.rowOffset(row) + 4L * i);
                sums.segment().set(FLOAT, at, sum);
            }
        }
    }

    @Override
    public double sumOfSquares(Matrix x) {
        double sum = 0;
        for (int row = 0; row < x.rows(); row++) {
            for (int i = 0; i < x.columns(); i++) {
                double value = x.segment().get(FLOAT, x.rowOffset(row) + 4L * i);
                sum = Math.fma(value, value, sum);
            }
        }
        return sum;
    }
}
