package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// [SwiGlu] in vectors, in blocks: sigmoids of a block in scratch, then the products. The same bits as [SwiGluScalar].
final class SwiGluVector implements SwiGluKernel {
    private static final int BLOCK = SCRATCH / 2;

    @Override
    public void forward(Matrix gate, Matrix up, Matrix y, float[] scratch, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            for (int column = 0; column < gate.columns(); column += BLOCK) {
                int count = Math.min(BLOCK, gate.columns() - column);
                long at = 4L * column;
                sigmoids(gate.segment(), gate.rowOffset(row) + at, scratch, count);
                forward(up.segment(), up.rowOffset(row) + at, y.segment(), y.rowOffset(row) + at, scratch, count);
            }
        }
    }

    /// scratch = the gates, then their sigmoids.
    private static void sigmoids(MemorySegment gates, long at, float[] scratch, int count) {
        MemorySegment.copy(gates, Tensor.FLOAT, at, scratch, 0, count);
        ExpVector.sigmoids(scratch, 0, BLOCK, count);
    }

    private static void forward(MemorySegment ups, long upAt, MemorySegment ys, long yAt, float[] scratch, int count) {
        int i = 0;
        for (; i <= count - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector z = FloatVector.fromArray(SPECIES, scratch, i);
            FloatVector s = FloatVector.fromArray(SPECIES, scratch, BLOCK + i);
            FloatVector u = FloatVector.fromMemorySegment(SPECIES, ups, upAt + 4L * i, ORDER);
            z.mul(s).mul(u).intoMemorySegment(ys, yAt + 4L * i, ORDER);
        }
        for (; i < count; i++) {
            float silu = scratch[i] * scratch[BLOCK + i];
            ys.set(Tensor.FLOAT, yAt + 4L * i, silu * ups.get(Tensor.FLOAT, upAt + 4L * i));
        }
    }

    @Override
    public void backward(
            Matrix gate,
            Matrix up,
            Matrix gradY,
            Matrix gradGate,
            Matrix gradUp,
            float[] scratch,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            for (int column = 0; column < gate.columns(); column += BLOCK) {
                int count = Math.min(BLOCK, gate.columns() - column);
                long at = 4L * column;
                sigmoids(gate.segment(), gate.rowOffset(row) + at, scratch, count);
                backward(
                        up.segment(),
                        up.rowOffset(row) + at,
                        gradY.segment(),
                        gradY.rowOffset(row) + at,
                        gradGate.segment(),
                        gradGate.rowOffset(row) + at,
                        gradUp.segment(),
                        gradUp.rowOffset(row) + at,
                        scratch,
                        count);
            }
        }
    }

    private static void backward(
            MemorySegment ups,
            long upAt,
            MemorySegment gs,
            long gAt,
            MemorySegment gradGates,
            long gradGateAt,
            MemorySegment gradUps,
            long gradUpAt,
            float[] scratch,
            int count) {
        int i = 0;
        for (; i <= count - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector s = FloatVector.fromArray(SPECIES, scratch, BLOCK + i);
            FloatVector silu = FloatVector.fromArray(SPECIES, scratch, i).mul(s);
            FloatVector slope = silu.fma(FloatVector.broadcast(SPECIES, 1).sub(s), s);
            FloatVector u = FloatVector.fromMemorySegment(SPECIES, ups, upAt + 4L * i, ORDER);
            FloatVector g = FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER);
            g.mul(u).mul(slope).intoMemorySegment(gradGates, gradGateAt + 4L * i, ORDER);
            g.mul(silu).intoMemorySegment(gradUps, gradUpAt + 4L * i, ORDER);
        }
        for (; i < count; i++) {
            float s = scratch[BLOCK + i];
            float silu = scratch[i] * s;
            float slope = Math.fma(silu, 1 - s, s);
            float u = ups.get(Tensor.FLOAT, upAt + 4L * i);
            float g = gs.get(Tensor.FLOAT, gAt + 4L * i);
            gradGates.set(Tensor.FLOAT, gradGateAt + 4L * i, g * u * slope);
            gradUps.set(Tensor.FLOAT, gradUpAt + 4L * i, g * silu);
        }
    }
}
