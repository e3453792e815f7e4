package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

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
            FloatVector.fromMemorySegment(SPECIES, gates, gateAt + at, ORDER)
                    .fma(
                            FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER),
                            FloatVector.fromMemorySegment(SPECIES, rs, rAt + at, ORDER))
                    .intoMemorySegment(ys, yAt + at, ORDER);
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
            FloatVector.fromMemorySegment(SPECIES, gates, gateAt + at, ORDER)
                    .mul(FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER))
                    .intoMemorySegment(ys, yAt + at, ORDER);
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
            FloatVector.fromMemorySegment(SPECIES, as, aAt + at, ORDER)
                    .fma(
                            FloatVector.fromMemorySegment(SPECIES, bs, bAt + at, ORDER),
                            FloatVector.fromMemorySegment(SPECIES, ss, sAt + at, ORDER))
                    .intoMemorySegment(ss, sAt + at, ORDER);
        }
        return i;
    }
}
