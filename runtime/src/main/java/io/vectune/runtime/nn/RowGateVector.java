package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;

/// [RowGate] in vectors: the same bits as [RowGateScalar].
final class RowGateVector implements RowGateKernel {
    @Override
    public void add(Matrix gate, Matrix x, Matrix residual, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            RowGateScalar.addRow(gate, x, residual, y, row, addVectors(gate, x, residual, y, row));
        }
    }

    private static int addVectors(Matrix gate, Matrix x, Matrix residual, Matrix y, int row) {
        MemorySegment gates = gate.segment();
        MemorySegment xs = x.segment();
        MemorySegment rs = residual.segment();
        MemorySegment ys = y.segment();
        long gateAt = gate.offset();
        long xAt = x.rowOffset(row);
        long rAt = residual.rowOffset(row);
        long yAt = y.rowOffset(row);
        int i = 0;
        for (; i <= x.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            Lanes.store(
                    Lanes.load(gates, gateAt + at).fma(Lanes.load(xs, xAt + at), Lanes.load(rs, rAt + at)),
                    ys,
                    yAt + at);
        }
        return i;
    }

    @Override
    public void multiply(Matrix gate, Matrix x, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            RowGateScalar.multiplyRow(gate, x, y, row, multiplyVectors(gate, x, y, row));
        }
    }

    private static int multiplyVectors(Matrix gate, Matrix x, Matrix y, int row) {
        MemorySegment gates = gate.segment();
        MemorySegment xs = x.segment();
        MemorySegment ys = y.segment();
        long gateAt = gate.offset();
        long xAt = x.rowOffset(row);
        long yAt = y.rowOffset(row);
        int i = 0;
        for (; i <= x.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            Lanes.store(Lanes.load(gates, gateAt + at).mul(Lanes.load(xs, xAt + at)), ys, yAt + at);
        }
        return i;
    }

    @Override
    public void addColumnProducts(Matrix a, Matrix b, Matrix sums, int columnFrom, int columnTo) {
        for (int row = 0; row < a.rows(); row++) {
            int done = addProductVectors(a, b, sums, row, columnFrom, columnTo);
            RowGateScalar.addProductsOfRow(a, b, sums, row, done, columnTo);
        }
    }

    private static int addProductVectors(Matrix a, Matrix b, Matrix sums, int row, int columnFrom, int columnTo) {
        MemorySegment as = a.segment();
        MemorySegment bs = b.segment();
        MemorySegment ss = sums.segment();
        long aAt = a.rowOffset(row);
        long bAt = b.rowOffset(row);
        long sAt = sums.offset();
        int i = columnFrom;
        for (; i <= columnTo - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            Lanes.store(
                    Lanes.load(as, aAt + at).fma(Lanes.load(bs, bAt + at), Lanes.load(ss, sAt + at)), ss, sAt + at);
        }
        return i;
    }
}
