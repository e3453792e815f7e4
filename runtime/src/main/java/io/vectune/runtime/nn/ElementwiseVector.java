package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// [Elementwise] in vectors: all but the sum of squares have the same bits as [ElementwiseScalar].
final class ElementwiseVector implements ElementwiseKernel {
    @Override
    public void addScaled(float alpha, Matrix x, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            addScaledRow(alpha, x, x.rowOffset(row), y, row);
        }
    }

    @Override
    public void addBias(Matrix bias, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            addScaledRow(1, bias, bias.offset(), y, row);
        }
    }

    private static void addScaledRow(float alpha, Matrix x, long xAt, Matrix y, int row) {
        MemorySegment xs = x.segment();
        MemorySegment ys = y.segment();
        long yAt = y.rowOffset(row);
        FloatVector factor = Lanes.broadcast(alpha);
        int i = 0;
        for (; i <= y.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector sum = Lanes.load(ys, yAt + 4L * i);
            Lanes.store(factor.fma(Lanes.load(xs, xAt + 4L * i), sum), ys, yAt + 4L * i);
        }
        ElementwiseScalar.addScaledRow(alpha, x, xAt, y, row, i);
    }

    @Override
    public void scale(float alpha, Matrix y, int rowFrom, int rowTo) {
        MemorySegment ys = y.segment();
        for (int row = rowFrom; row < rowTo; row++) {
            long yAt = y.rowOffset(row);
            int i = 0;
            for (; i <= y.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
                Lanes.store(Lanes.load(ys, yAt + 4L * i).mul(alpha), ys, yAt + 4L * i);
            }
            ElementwiseScalar.scaleRow(alpha, y, row, i);
        }
    }

    @Override
    public void addColumnSums(Matrix x, Matrix sums, int columnFrom, int columnTo) {
        MemorySegment xs = x.segment();
        MemorySegment ss = sums.segment();
        long sAt = sums.offset();
        for (int row = 0; row < x.rows(); row++) {
            long xAt = x.rowOffset(row);
            int i = columnFrom;
            for (; i <= columnTo - Lanes.LENGTH; i += Lanes.LENGTH) {
                Lanes.store(Lanes.load(ss, sAt + 4L * i).add(Lanes.load(xs, xAt + 4L * i)), ss, sAt + 4L * i);
            }
            for (; i < columnTo; i++) {
                ss.set(FLOAT, sAt + 4L * i, ss.get(FLOAT, sAt + 4L * i) + xs.get(FLOAT, xAt + 4L * i));
            }
        }
    }

    @Override
    public double sumOfSquares(Matrix x) {
        double sum = 0;
        for (int row = 0; row < x.rows(); row++) {
            sum += rowSumOfSquares(x.segment(), x.rowOffset(row), x.columns());
        }
        return sum;
    }

    private static double rowSumOfSquares(MemorySegment xs, long at, int n) {
        DoubleVector low = DoubleVector.zero(Lanes.DOUBLES);
        DoubleVector high = DoubleVector.zero(Lanes.DOUBLES);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector x = Lanes.load(xs, at + 4L * i);
            DoubleVector x0 = (DoubleVector) x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0);
            DoubleVector x1 = (DoubleVector) x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1);
            low = x0.fma(x0, low);
            high = x1.fma(x1, high);
        }
        double sum = Lanes.sum(low.add(high));
        for (; i < n; i++) {
            double value = xs.get(FLOAT, at + 4L * i);
            sum = Math.fma(value, value, sum);
        }
        return sum;
    }
}
