package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;

/// [RowGate] in formula order.
final class RowGateScalar implements RowGateKernel {
    @Override
    public void add(Matrix gate, Matrix x, Matrix residual, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            addRow(gate, x, residual, y, row, 0);
        }
    }

    static void addRow(Matrix gate, Matrix x, Matrix residual, Matrix y, int row, int columnFrom) {
        for (int i = columnFrom; i < x.columns(); i++) {
            float factor = gate.segment().get(FLOAT, gate.offset() + 4L * i);
            float value = x.segment().get(FLOAT, x.rowOffset(row) + 4L * i);
            float before = residual.segment().get(FLOAT, residual.rowOffset(row) + 4L * i);
            y.segment().set(FLOAT, y.rowOffset(row) + 4L * i, Math.fma(factor, value, before));
        }
    }

    @Override
    public void multiply(Matrix gate, Matrix x, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            multiplyRow(gate, x, y, row, 0);
        }
    }

    static void multiplyRow(Matrix gate, Matrix x, Matrix y, int row, int columnFrom) {
        for (int i = columnFrom; i < x.columns(); i++) {
            float factor = gate.segment().get(FLOAT, gate.offset() + 4L * i);
            float value = x.segment().get(FLOAT, x.rowOffset(row) + 4L * i);
            y.segment().set(FLOAT, y.rowOffset(row) + 4L * i, factor * value);
        }
    }

    @Override
    public void addColumnProducts(Matrix a, Matrix b, Matrix sums, int columnFrom, int columnTo) {
        for (int row = 0; row < a.rows(); row++) {
            addProductsOfRow(a, b, sums, row, columnFrom, columnTo);
        }
    }

    static void addProductsOfRow(Matrix a, Matrix b, Matrix sums, int row, int columnFrom, int columnTo) {
        for (int i = columnFrom; i < columnTo; i++) {
            float left = a.segment().get(FLOAT, a.rowOffset(row) + 4L * i);
            float right = b.segment().get(FLOAT, b.rowOffset(row) + 4L * i);
            long at = sums.offset() + 4L * i;
            sums.segment().set(FLOAT, at, Math.fma(left, right, sums.segment().get(FLOAT, at)));
        }
    }
}
