package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import org.jspecify.annotations.Nullable;

/// [RmsNorm] in vectors. Sums run in two lanes-wide accumulators; the tail is added to their fixed-order sum.
final class RmsNormVector implements RmsNormKernel {
    @Override
    public void forward(
            Matrix x,
            Matrix weight,
            float eps,
            Matrix y,
            @Nullable Matrix inverseRms,
            float[] lanes,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            float sum = sumOfSquares(x.segment(), x.rowOffset(row), x.columns(), lanes);
            float inverse = (float) (1 / Math.sqrt(sum / x.columns() + eps));
            normalize(x, weight, y, row, inverse);
            if (inverseRms != null) {
                inverseRms.segment().set(FLOAT, inverseRms.rowOffset(row), inverse);
            }
        }
    }

    private static float sumOfSquares(MemorySegment x, long at, int n, float[] lanes) {
        FloatVector acc0 = FloatVector.zero(SPECIES);
        FloatVector acc1 = FloatVector.zero(SPECIES);
        int i = 0;
        for (; i <= n - 2 * Lanes.LENGTH; i += 2 * Lanes.LENGTH) {
            FloatVector x0 = FloatVector.fromMemorySegment(SPECIES, x, at + 4L * i, ORDER);
            FloatVector x1 = FloatVector.fromMemorySegment(SPECIES, x, at + 4L * i + Lanes.BYTES, ORDER);
            acc0 = x0.fma(x0, acc0);
            acc1 = x1.fma(x1, acc1);
        }
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector x0 = FloatVector.fromMemorySegment(SPECIES, x, at + 4L * i, ORDER);
            acc0 = x0.fma(x0, acc0);
        }
        acc0.add(acc1).intoArray(lanes, 0);
        float sum = Lanes.sum(lanes);
        for (; i < n; i++) {
            float value = x.get(FLOAT, at + 4L * i);
            sum = Math.fma(value, value, sum);
        }
        return sum;
    }

    private static void normalize(Matrix x, Matrix weight, Matrix y, int row, float inverse) {
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment ys = y.segment();
        long xAt = x.rowOffset(row);
        long wAt = weight.offset();
        long yAt = y.rowOffset(row);
        int n = x.columns();
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector normalized = FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER).mul(inverse);
            FloatVector.fromMemorySegment(SPECIES, ws, wAt + 4L * i, ORDER)
                    .mul(normalized)
                    .intoMemorySegment(ys, yAt + 4L * i, ORDER);
        }
        for (; i < n; i++) {
            float normalized = xs.get(FLOAT, xAt + 4L * i) * inverse;
            ys.set(FLOAT, yAt + 4L * i, ws.get(FLOAT, wAt + 4L * i) * normalized);
        }
    }

    @Override
    public void backward(
            Matrix x,
            Matrix weight,
            Matrix inverseRms,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            float[] lanes,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            float inverse = inverseRms.segment().get(FLOAT, inverseRms.rowOffset(row));
            float along = -weightedProduct(x, weight, gradY, row, lanes) * inverse * inverse * inverse / x.columns();
            writeGradient(x, weight, gradY, gradX, accumulate, row, inverse, along);
        }
    }

    /// sum_i weight_i gradY_i x_i
    private static float weightedProduct(Matrix x, Matrix weight, Matrix gradY, int row, float[] lanes) {
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment gs = gradY.segment();
        long xAt = x.rowOffset(row);
        long wAt = weight.offset();
        long gAt = gradY.rowOffset(row);
        int n = x.columns();
        FloatVector acc0 = FloatVector.zero(SPECIES);
        FloatVector acc1 = FloatVector.zero(SPECIES);
        int i = 0;
        for (; i <= n - 2 * Lanes.LENGTH; i += 2 * Lanes.LENGTH) {
            long at = 4L * i;
            FloatVector weighted0 =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + at, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + at, ORDER));
            acc0 = weighted0.fma(FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER), acc0);
            at += Lanes.BYTES;
            FloatVector weighted1 =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + at, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + at, ORDER));
            acc1 = weighted1.fma(FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER), acc1);
        }
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector weighted =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + 4L * i, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER));
            acc0 = weighted.fma(FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER), acc0);
        }
        acc0.add(acc1).intoArray(lanes, 0);
        float sum = Lanes.sum(lanes);
        for (; i < n; i++) {
            float weighted = ws.get(FLOAT, wAt + 4L * i) * gs.get(FLOAT, gAt + 4L * i);
            sum = Math.fma(weighted, xs.get(FLOAT, xAt + 4L * i), sum);
        }
        return sum;
    }

    private static void writeGradient(
            Matrix x,
            Matrix weight,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            int row,
            float inverse,
            float along) {
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment ds = gradX.segment();
        long xAt = x.rowOffset(row);
        long wAt = weight.offset();
        long gAt = gradY.rowOffset(row);
        long dAt = gradX.rowOffset(row);
        int n = x.columns();
        FloatVector inverses = FloatVector.broadcast(SPECIES, inverse);
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            long at = 4L * i;
            FloatVector weighted =
                    FloatVector.fromMemorySegment(SPECIES, ws, wAt + at, ORDER)
                            .mul(FloatVector.fromMemorySegment(SPECIES, gs, gAt + at, ORDER));
            FloatVector gradient =
                    weighted.fma(inverses, FloatVector.fromMemorySegment(SPECIES, xs, xAt + at, ORDER).mul(along));
            if (accumulate) {
                gradient = FloatVector.fromMemorySegment(SPECIES, ds, dAt + at, ORDER).add(gradient);
            }
            gradient.intoMemorySegment(ds, dAt + at, ORDER);
        }
        for (; i < n; i++) {
            long at = 4L * i;
            float weighted = ws.get(FLOAT, wAt + at) * gs.get(FLOAT, gAt + at);
            float gradient = Math.fma(weighted, inverse, along * xs.get(FLOAT, xAt + at));
            ds.set(FLOAT, dAt + at, accumulate ? ds.get(FLOAT, dAt + at) + gradient : gradient);
        }
    }

    @Override
    public void gradWeight(Matrix x, Matrix inverseRms, Matrix gradY, Matrix gradWeight, int columnFrom, int columnTo) {
        MemorySegment xs = x.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment ds = gradWeight.segment();
        for (int row = 0; row < x.rows(); row++) {
            long xAt = x.rowOffset(row);
            long gAt = gradY.rowOffset(row);
            long dAt = gradWeight.offset();
            float inverse = inverseRms.segment().get(FLOAT, inverseRms.rowOffset(row));
            int i = columnFrom;
            for (; i <= columnTo - Lanes.LENGTH; i += Lanes.LENGTH) {
                FloatVector normalized = FloatVector.fromMemorySegment(SPECIES, xs, xAt + 4L * i, ORDER).mul(inverse);
                FloatVector sum = FloatVector.fromMemorySegment(SPECIES, ds, dAt + 4L * i, ORDER);
                FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER)
                        .fma(normalized, sum)
                        .intoMemorySegment(ds, dAt + 4L * i, ORDER);
            }
            for (; i < columnTo; i++) {
                float normalized = xs.get(FLOAT, xAt + 4L * i) * inverse;
                float sum = ds.get(FLOAT, dAt + 4L * i);
                ds.set(FLOAT, dAt + 4L * i, Math.fma(gs.get(FLOAT, gAt + 4L * i), normalized, sum));
            }
        }
    }
}
