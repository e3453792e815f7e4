package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
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
        FloatVector factor = FloatVector.broadcast(SPECIES, alpha);
        int i = 0;
        for (; i <= y.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector sum = FloatVector.fromMemorySegment(SPECIES, ys, yAt + 4L * i, ORDER);
            factor.fma(FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER), sum)
                    .intoMemorySegment(ys, yAt + 4L * i, ORDER);
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
                FloatVector.fromMemorySegment(SPECIES, ys, yAt + 4L * i, ORDER)
                        .mul(alpha)
                        .intoMemorySegment(ys, yAt + 4L * i, ORDER);
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
                FloatVector.fromMemorySegment(SPECIES, ss, sAt + 4L * i, ORDER)
                        .add(FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER))
                        .intoMemorySegment(ss, sAt + 4L * i, ORDER);
            }
            for (; i < columnTo; i++) {
                ss.set(FLOAT, sAt + 4L * i, ss.get(FLOAT, sAt + 4L * i) + xs.get(FLOAT, xAt + 4L * i));
            }
        }
    }

    @Override
    public double sumOfSquares(Matrix x) {
        float[] lanes = new float[Lanes.LENGTH];
        double sum = 0;
        for (int row = 0; row < x.rows(); row++) {
            sum += rowSumOfSquares(x.segment(), x.rowOffset(row), x.columns(), lanes);
        }
        return sum;
    }

    private static double rowSumOfSquares(MemorySegment xs, long at, int n, float[] lanes) {
        DoubleVector low = DoubleVector.zero(Lanes.DOUBLES);
        DoubleVector high = DoubleVector.zero(Lanes.DOUBLES);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector x = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER);
            DoubleVector x0 = (DoubleVector) x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0);
            DoubleVector x1 = (DoubleVector) x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1);
            low = x0.fma(x0, low);
            high = x1.fma(x1, high);
        }
        low.add(high).reinterpretAsFloats().intoArray(lanes, 0);
        double sum = Lanes.sumOfDoubles(lanes);
        for (; i < n; i++) {
            double value = xs.get(FLOAT, at + 4L * i);
            sum = Math.fma(value, value, sum);
        }
        return sum;
    }
}
