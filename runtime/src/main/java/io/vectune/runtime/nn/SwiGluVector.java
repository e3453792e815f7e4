package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// [SwiGlu] in vectors: the same bits as [SwiGluScalar].
final class SwiGluVector implements SwiGluKernel {
    @Override
    public void forward(Matrix gate, Matrix up, Matrix y, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            int done = forwardVectors(gate, up, y, row);
            SwiGluScalar.forwardRow(gate, up, y, row, done);
        }
    }

    private static int forwardVectors(Matrix gate, Matrix up, Matrix y, int row) {
        MemorySegment gates = gate.segment();
        MemorySegment ups = up.segment();
        MemorySegment ys = y.segment();
        long gateAt = gate.rowOffset(row);
        long upAt = up.rowOffset(row);
        long yAt = y.rowOffset(row);
        int i = 0;
        for (; i <= gate.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector z = Lanes.load(gates, gateAt + 4L * i);
            FloatVector silu = z.mul(ExpVector.sigmoid(z));
            Lanes.store(silu.mul(Lanes.load(ups, upAt + 4L * i)), ys, yAt + 4L * i);
        }
        return i;
    }

    @Override
    public void backward(Matrix gate, Matrix up, Matrix gradY, Matrix gradGate, Matrix gradUp, int rowFrom, int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            int done = backwardVectors(gate, up, gradY, gradGate, gradUp, row);
            SwiGluScalar.backwardRow(gate, up, gradY, gradGate, gradUp, row, done);
        }
    }

    private static int backwardVectors(Matrix gate, Matrix up, Matrix gradY, Matrix gradGate, Matrix gradUp, int row) {
        MemorySegment gates = gate.segment();
        MemorySegment ups = up.segment();
        MemorySegment gs = gradY.segment();
        MemorySegment gradGates = gradGate.segment();
        MemorySegment gradUps = gradUp.segment();
        long gateAt = gate.rowOffset(row);
        long upAt = up.rowOffset(row);
        long gAt = gradY.rowOffset(row);
        long gradGateAt = gradGate.rowOffset(row);
        long gradUpAt = gradUp.rowOffset(row);
        int i = 0;
        for (; i <= gate.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector z = Lanes.load(gates, gateAt + 4L * i);
            FloatVector u = Lanes.load(ups, upAt + 4L * i);
            FloatVector g = Lanes.load(gs, gAt + 4L * i);
            FloatVector s = ExpVector.sigmoid(z);
            FloatVector silu = z.mul(s);
            FloatVector slope = silu.fma(Lanes.broadcast(1).sub(s), s);
            Lanes.store(g.mul(u).mul(slope), gradGates, gradGateAt + 4L * i);
            Lanes.store(g.mul(silu), gradUps, gradUpAt + 4L * i);
        }
        return i;
    }
}
