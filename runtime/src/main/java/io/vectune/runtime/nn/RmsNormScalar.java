package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// [RmsNorm] in formula order.
final class RmsNormScalar implements RmsNormKernel {
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
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment ys = y.segment();
        int n = x.columns();
        for (int row = rowFrom; row < rowTo; row++) {
            long xAt = x.rowOffset(row);
            long yAt = y.rowOffset(row);
            float sum = 0;
            for (int i = 0; i < n; i++) {
                float value = xs.get(FLOAT, xAt + 4L * i);
                sum = Math.fma(value, value, sum);
            }
            float inverse = (float) (1 / Math.sqrt(sum / n + eps));
            for (int i = 0; i < n; i++) {
                float normalized = xs.get(FLOAT, xAt + 4L * i) * inverse;
                ys.set(FLOAT, yAt + 4L * i, ws.get(FLOAT, weight.offset() + 4L * i) * normalized);
            }
            if (inverseRms != null) {
                inverseRms.segment().set(FLOAT, inverseRms.rowOffset(row), inverse);
            }
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
        MemorySegment xs = x.segment();
        MemorySegment ws = weight.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment ds = gradX.segment();
        int n = x.columns();
        for (int row = rowFrom; row < rowTo; row++) {
            long xAt = x.rowOffset(row);
            long gAt = gradY.rowOffset(row);
            long dAt = gradX.rowOffset(row);
            float inverse = inverseRms.segment().get(FLOAT, inverseRms.rowOffset(row));
            float sum = 0;
            for (int i = 0; i < n; i++) {
                float weighted = ws.get(FLOAT, weight.offset() + 4L * i) * gs.get(FLOAT, gAt + 4L * i);
                sum = Math.fma(weighted, xs.get(FLOAT, xAt + 4L * i), sum);
            }
            float along = -sum * inverse * inverse * inverse / n;
            for (int i = 0; i < n; i++) {
                float weighted = ws.get(FLOAT, weight.offset() + 4L * i) * gs.get(FLOAT, gAt + 4L * i);
                float gradient = Math.fma(weighted, inverse, along * xs.get(FLOAT, xAt + 4L * i));
                ds.set(FLOAT, dAt + 4L * i, accumulate ? ds.get(FLOAT, dAt + 4L * i) + gradient : gradient);
            }
        }
    }

    @Override
    public void gradWeight(Matrix x, Matrix inverseRms, Matrix gradY, Matrix gradWeight, int columnFrom, int columnTo) {
        MemorySegment ds = gradWeight.segment();
        for (int row = 0; row < x.rows(); row++) {
            long xAt = x.rowOffset(row);
            long gAt = gradY.rowOffset(row);
            float inverse = inverseRms.segment().get(FLOAT, inverseRms.rowOffset(row));
            for (int i = columnFrom; i < columnTo; i++) {
                float normalized = x.segment().get(FLOAT, xAt + 4L * i) * inverse;
                long at = gradWeight.offset() + 4L * i;
                ds.set(FLOAT, at, Math.fma(gradY.segment().get(FLOAT, gAt + 4L * i), normalized, ds.get(FLOAT, at)));
            }
        }
    }
}
