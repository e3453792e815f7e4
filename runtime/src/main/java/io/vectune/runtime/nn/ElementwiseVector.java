package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.nn.Lanes.ORDER;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

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
        FloatVector factor = FloatVector.broadcast(SPECIES, alpha);
        int i = 0;
        for (; i <= y.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector sum = FloatVector.fromMemorySegment(SPECIES, ys, yAt + 4L * i, ORDER);
            factor.fma(FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER), sum).intoMemorySegment(ys, yAt + 4L * i, ORDER);
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
                FloatVector.fromMemorySegment(SPECIES, ys, yAt + 4L * i, ORDER).mul(alpha).intoMemorySegment(ys, yAt + 4L * i, ORDER);
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
                FloatVector.fromMemorySegment(SPECIES, ss, sAt + 4L * i, ORDER).add(FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER)).intoMemorySegment(ss, sAt + 4L * i, ORDER);
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
        double sum0 = 0;
        double sum1 = 0;
        double sum2 = 0;
        double sum3 = 0;
        int i = 0;
        for (; i <= n - 4; i += 4) {
            double x0 = xs.get(FLOAT, at + 4L * i);
            double x1 = xs.get(FLOAT, at + 4L * i + 4);
            double x2 = xs.get(FLOAT, at + 4L * i + 8);
            double x3 = xs.get(FLOAT, at + 4L * i + 12);
            sum0 = Math.fma(x0, x0, sum0);
            sum1 = Math.fma(x1, x1, sum1);
            sum2 = Math.fma(x2, x2, sum2);
            sum3 = Math.fma(x3, x3, sum3);
        }
        double sum = (sum0 + sum2) + (sum1 + sum3);
        for (; i < n; i++) {
            double value = xs.get(FLOAT, at + 4L * i);
            sum = Math.fma(value, value, sum);
        }
        return sum;
    }
}
