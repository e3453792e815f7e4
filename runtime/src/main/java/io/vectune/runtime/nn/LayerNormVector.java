package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import org.jspecify.annotations.Nullable;

/// [LayerNorm] in vectors. Sums run in double lanes; the tail is added to their fixed-order sum.
final class LayerNormVector implements LayerNormKernel {
    @Override
    public void forward(
            Matrix x,
            Matrix weight,
            Matrix bias,
            float eps,
            Matrix y,
            @Nullable Matrix statistics,
            float[] lanes,
            int rowFrom,
            int rowTo) {
        int n = x.columns();
        for (int row = rowFrom; row < rowTo; row++) {
            float mean = (float) (sum(x.segment(), x.rowOffset(row), n, lanes) / n);
            double squares = squares(x.segment(), x.rowOffset(row), n, mean, lanes);
            float inverse = (float) (1 / Math.sqrt(squares / n + eps));
            int done = normalize(x, weight, bias, y, row, mean, inverse);
            LayerNormScalar.normalizeRow(x, weight, bias, y, row, mean, inverse, done);
            LayerNormScalar.keep(statistics, row, mean, inverse);
        }
    }

    private static double sum(MemorySegment xs, long at, int n, float[] lanes) {
        DoubleVector low = DoubleVector.zero(Lanes.DOUBLES);
        DoubleVector high = DoubleVector.zero(Lanes.DOUBLES);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector x = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER);
            low = low.add(x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0));
            high = high.add(x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1));
        }
        low.add(high).reinterpretAsFloats().intoArray(lanes, 0);
        double sum = Lanes.sumOfDoubles(lanes);
        for (; i < n; i++) {
            sum += xs.get(FLOAT, at + 4L * i);
        }
        return sum;
    }

    private static double squares(MemorySegment xs, long at, int n, float mean, float[] lanes) {
        DoubleVector low = DoubleVector.zero(Lanes.DOUBLES);
        DoubleVector high = DoubleVector.zero(Lanes.DOUBLES);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector x = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER).sub(mean);
            DoubleVector x0 = (DoubleVector) x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0);
            DoubleVector x1 = (DoubleVector) x.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1);
            low = x0.fma(x0, low);
            high = x1.fma(x1, high);
        }
        low.add(high).reinterpretAsFloats().intoArray(lanes, 0);
        double sum = Lanes.sumOfDoubles(lanes);
        for (; i < n; i++) {
            double centered = xs.get(FLOAT, at + 4L * i) - mean;
            sum = Math.fma(centered, centered, sum);
        }
        return sum;
    }

    private static int normalize(Matrix x, Matrix weight, Matrix bias, Matrix y, int row, float mean, float inverse) {
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment bs = bias.segment();
        MemorySegment ys = y.segment();
        long xAt = x.rowOffset(row);
        long wAt = weight.offset();
        long bAt = bias.offset();
        long yAt = y.rowOffset(row);
        int i = 0;
        for (; i <= x.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            FloatVector normalized = FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER).sub(mean).mul(inverse);
            normalized
                    .fma(
                            FloatVector.fromMemorySegment(SPECIES, ws, wAt + at, ORDER),
                            FloatVector.fromMemorySegment(SPECIES, bs, bAt + at, ORDER))
                    .intoMemorySegment(ys, yAt + at, ORDER);
        }
        return i;
    }

    @Override
    public void backward(
            Matrix x,
            Matrix weight,
            Matrix statistics,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            float[] lanes,
            int rowFrom,
            int rowTo) {
        int n = x.columns();
        for (int row = rowFrom; row < rowTo; row++) {
            float mean = LayerNormScalar.mean(statistics, row);
            float inverse = LayerNormScalar.inverse(statistics, row);
            float meanGrad = (float) (weightedSum(weight, gradY, row, lanes) / n);
            float meanAlong = (float) (weightedProduct(x, weight, gradY, row, mean, inverse, lanes) / n);
            int done = write(x, weight, gradY, gradX, accumulate, row, mean, inverse, meanGrad, meanAlong);
            LayerNormScalar.writeRow(
                    x, weight, gradY, gradX, accumulate, row, mean, inverse, meanGrad, meanAlong, done);
        }
    }

    /// sum_i weight_i gradY_i
    private static double weightedSum(Matrix weight, Matrix gradY, int row, float[] lanes) {
        MemorySegment ws = weight.segment();
        MemorySegment gs = gradY.segment();
        long wAt = weight.offset();
        long gAt = gradY.rowOffset(row);
        int n = gradY.columns();
        DoubleVector low = DoubleVector.zero(Lanes.DOUBLES);
        DoubleVector high = DoubleVector.zero(Lanes.DOUBLES);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector weighted =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + 4L * i, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER));
            low = low.add(weighted.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0));
            high = high.add(weighted.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1));
        }
        low.add(high).reinterpretAsFloats().intoArray(lanes, 0);
        double sum = Lanes.sumOfDoubles(lanes);
        for (; i < n; i++) {
            sum += LayerNormScalar.weighted(weight, gradY, row, i);
        }
        return sum;
    }

    /// sum_i weight_i gradY_i n_i
    private static double weightedProduct(
            Matrix x, Matrix weight, Matrix gradY, int row, float mean, float inverse, float[] lanes) {
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment gs = gradY.segment();
        long xAt = x.rowOffset(row);
        long wAt = weight.offset();
        long gAt = gradY.rowOffset(row);
        int n = x.columns();
        DoubleVector low = DoubleVector.zero(Lanes.DOUBLES);
        DoubleVector high = DoubleVector.zero(Lanes.DOUBLES);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector normalized =
                    FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER).sub(mean).mul(inverse);
            FloatVector weighted =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + 4L * i, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER));
            DoubleVector n0 = (DoubleVector) normalized.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0);
            DoubleVector n1 = (DoubleVector) normalized.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1);
            DoubleVector w0 = (DoubleVector) weighted.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 0);
            DoubleVector w1 = (DoubleVector) weighted.convertShape(VectorOperators.F2D, Lanes.DOUBLES, 1);
            low = w0.fma(n0, low);
            high = w1.fma(n1, high);
        }
        low.add(high).reinterpretAsFloats().intoArray(lanes, 0);
        double sum = Lanes.sumOfDoubles(lanes);
        for (; i < n; i++) {
            float normalized = (xs.get(FLOAT, xAt + 4L * i) - mean) * inverse;
            sum = Math.fma((double) LayerNormScalar.weighted(weight, gradY, row, i), normalized, sum);
        }
        return sum;
    }

    private static int write(
            Matrix x,
            Matrix weight,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            int row,
            float mean,
            float inverse,
            float meanGrad,
            float meanAlong) {
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment ds = gradX.segment();
        long xAt = x.rowOffset(row);
        long wAt = weight.offset();
        long gAt = gradY.rowOffset(row);
        long dAt = gradX.rowOffset(row);
        FloatVector along = FloatVector.broadcast(SPECIES, meanAlong);
        int i = 0;
        for (; i <= x.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            FloatVector normalized = FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER).sub(mean).mul(inverse);
            FloatVector centered =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + at, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + at, ORDER))
                            .sub(meanGrad);
            FloatVector gradient = normalized.neg().fma(along, centered).mul(inverse);
            if (accumulate) {
                gradient = FloatVector.fromMemorySegment(SPECIES, ds, dAt + at, ORDER).add(gradient);
            }
            gradient.intoMemorySegment(ds, dAt + at, ORDER);
        }
        return i;
    }

    @Override
    public void gradWeight(Matrix x, Matrix statistics, Matrix gradY, Matrix gradWeight, int columnFrom, int columnTo) {
        for (int row = 0; row < x.rows(); row++) {
            float mean = LayerNormScalar.mean(statistics, row);
            float inverse = LayerNormScalar.inverse(statistics, row);
            int done = addWeights(x, gradY, gradWeight, row, mean, inverse, columnFrom, columnTo);
            LayerNormScalar.addWeightRow(x, statistics, gradY, gradWeight, row, done, columnTo);
        }
    }

    private static int addWeights(
            Matrix x, Matrix gradY, Matrix gradWeight, int row, float mean, float inverse, int from, int to) {
        MemorySegment xs = x.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment ds = gradWeight.segment();
        long xAt = x.rowOffset(row);
        long gAt = gradY.rowOffset(row);
        long dAt = gradWeight.offset();
        int i = from;
        for (; i <= to - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            FloatVector normalized = FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER).sub(mean).mul(inverse);
            FloatVector.fromMemorySegment(SPECIES, gs, gAt + at, ORDER)
                    .fma(normalized, FloatVector.fromMemorySegment(SPECIES, ds, dAt + at, ORDER))
                    .intoMemorySegment(ds, dAt + at, ORDER);
        }
        return i;
    }
}
