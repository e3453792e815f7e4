package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/// [Gelu] in vectors, in blocks: x and sigmoid(2 u) of a block in scratch, then the products. The same bits as
/// [GeluScalar].
final class GeluVector implements GeluKernel {
    private static final int BLOCK = SCRATCH / 2;

    @Override
    public void forward(Matrix x, Matrix y, float[] scratch, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            for (int column = 0; column < x.columns(); column += BLOCK) {
                int count = Math.min(BLOCK, x.columns() - column);
                sigmoids(x.segment(), x.rowOffset(row) + 4L * column, scratch, count);
                for (int i = 0; i < count; i += Lanes.LENGTH) {
                    FloatVector s = FloatVector.fromArray(SPECIES, scratch, BLOCK + i);
                    FloatVector.fromArray(SPECIES, scratch, i).mul(s).intoArray(scratch, i);
                }
                MemorySegment.copy(scratch, 0, y.segment(), Tensor.FLOAT, y.rowOffset(row) + 4L * column, count);
            }
        }
    }

    /// scratch = x, then sigmoid(2 u), both padded with zeros to whole vectors.
    private static void sigmoids(MemorySegment xs, long at, float[] scratch, int count) {
        MemorySegment.copy(xs, Tensor.FLOAT, at, scratch, 0, count);
        Arrays.fill(scratch, count, (count + Lanes.LENGTH - 1) / Lanes.LENGTH * Lanes.LENGTH, 0);
        for (int i = 0; i < count; i += Lanes.LENGTH) {
            FloatVector value = FloatVector.fromArray(SPECIES, scratch, i);
            FloatVector polynomial =
                    value.mul(value)
                            .fma(
                                    FloatVector.broadcast(SPECIES, Gelu.TWICE_CUBIC),
                                    FloatVector.broadcast(SPECIES, Gelu.TWICE_FACTOR));
            value.mul(polynomial).intoArray(scratch, BLOCK + i);
        }
        ExpVector.sigmoids(scratch, BLOCK, BLOCK, count);
    }

    @Override
    public void backward(Matrix x, Matrix gradY, Matrix gradX, float[] scratch, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            for (int column = 0; column < x.columns(); column += BLOCK) {
                int count = Math.min(BLOCK, x.columns() - column);
                long at = 4L * column;
                sigmoids(x.segment(), x.rowOffset(row) + at, scratch, count);
                derivatives(scratch, count);
                multiply(
                        gradY.segment(),
                        gradY.rowOffset(row) + at,
                        scratch,
                        gradX.segment(),
                        gradX.rowOffset(row) + at,
                        count);
            }
        }
    }

    /// Replaces x by the derivative of gelu at x.
    private static void derivatives(float[] scratch, int count) {
        FloatVector one = FloatVector.broadcast(SPECIES, 1);
        for (int i = 0; i < count; i += Lanes.LENGTH) {
            FloatVector value = FloatVector.fromArray(SPECIES, scratch, i);
            FloatVector s = FloatVector.fromArray(SPECIES, scratch, BLOCK + i);
            FloatVector slope =
                    value.mul(
                            value.mul(value)
                                    .fma(
                                            FloatVector.broadcast(SPECIES, 3 * Gelu.TWICE_CUBIC),
                                            FloatVector.broadcast(SPECIES, Gelu.TWICE_FACTOR)));
            s.mul(slope.fma(one.sub(s), one)).intoArray(scratch, i);
        }
    }

    private static void multiply(
            MemorySegment gs, long gAt, float[] derivatives, MemorySegment ds, long dAt, int count) {
        int i = 0;
        for (; i <= count - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector g = FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER);
            g.mul(FloatVector.fromArray(SPECIES, derivatives, i)).intoMemorySegment(ds, dAt + 4L * i, ORDER);
        }
        for (; i < count; i++) {
            ds.set(Tensor.FLOAT, dAt + 4L * i, gs.get(Tensor.FLOAT, gAt + 4L * i) * derivatives[i]);
        }
    }
}
