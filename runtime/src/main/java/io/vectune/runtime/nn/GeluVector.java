package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// [Gelu] in vectors: the same bits as [GeluScalar].
final class GeluVector implements GeluKernel {
    @Override
    public void forward(Matrix x, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            int done = forwardVectors(x.segment(), x.rowOffset(row), y.segment(), y.rowOffset(row), x.columns());
            GeluScalar.forwardRow(x, y, row, done);
        }
    }

    private static int forwardVectors(MemorySegment xs, long xAt, MemorySegment ys, long yAt, int n) {
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector value = Lanes.load(xs, xAt + 4L * i);
            FloatVector polynomial =
                    value.mul(value).fma(Lanes.broadcast(Gelu.TWICE_CUBIC), Lanes.broadcast(Gelu.TWICE_FACTOR));
            Lanes.store(value.mul(ExpVector.sigmoid(value.mul(polynomial))), ys, yAt + 4L * i);
        }
        return i;
    }

    @Override
    public void backward(Matrix x, Matrix gradY, Matrix gradX, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            int done = backwardVectors(x, gradY, gradX, row);
            GeluScalar.backwardRow(x, gradY, gradX, row, done);
        }
    }

    private static int backwardVectors(Matrix x, Matrix gradY, Matrix gradX, int row) {
        MemorySegment xs = x.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment ds = gradX.segment();
        long xAt = x.rowOffset(row);
        long gAt = gradY.rowOffset(row);
        long dAt = gradX.rowOffset(row);
        int i = 0;
        for (; i <= x.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector value = Lanes.load(xs, xAt + 4L * i);
            FloatVector factor = Lanes.broadcast(Gelu.TWICE_FACTOR);
            FloatVector square = value.mul(value);
            FloatVector s = ExpVector.sigmoid(value.mul(square.fma(Lanes.broadcast(Gelu.TWICE_CUBIC), factor)));
            FloatVector slope = value.mul(square.fma(Lanes.broadcast(3 * Gelu.TWICE_CUBIC), factor));
            FloatVector inner = slope.fma(Lanes.broadcast(1).sub(s), Lanes.broadcast(1));
            Lanes.store(Lanes.load(gs, gAt + 4L * i).mul(s.mul(inner)), ds, dAt + 4L * i);
        }
        return i;
    }
}
