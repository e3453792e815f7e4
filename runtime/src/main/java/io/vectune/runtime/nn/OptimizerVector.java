package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import org.jspecify.annotations.Nullable;

/// [AdamW] and [Sgd] in vectors: the same bits as [OptimizerScalar].
final class OptimizerVector implements OptimizerKernel {
    @Override
    public void adamW(
            Matrix parameter,
            Matrix gradient,
            Matrix firstMoment,
            Matrix secondMoment,
            float keep,
            float firstRate,
            float secondKeep,
            float secondRate,
            float correction,
            float eps,
            float stepSize,
            int rowFrom,
            int rowTo) {
        MemorySegment ps = parameter.segment();
        MemorySegment gs = gradient.segment();
        MemorySegment ms = firstMoment.segment();
        MemorySegment vs = secondMoment.segment();
        FloatVector firstRates = FloatVector.broadcast(SPECIES, firstRate);
        for (int row = rowFrom; row < rowTo; row++) {
            long pAt = parameter.rowOffset(row);
            long gAt = gradient.rowOffset(row);
            long mAt = firstMoment.rowOffset(row);
            long vAt = secondMoment.rowOffset(row);
            int i = 0;
            for (; i <= parameter.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
                long at = 4L * i;
                FloatVector g = FloatVector.fromMemorySegment(SPECIES, gs, gAt + at, ORDER);
                FloatVector m = FloatVector.fromMemorySegment(SPECIES, ms, mAt + at, ORDER);
                m = firstRates.fma(g.sub(m), m);
                FloatVector v =
                        g.mul(secondRate)
                                .fma(g, FloatVector.fromMemorySegment(SPECIES, vs, vAt + at, ORDER).mul(secondKeep));
                FloatVector denominator = v.sqrt().div(correction).add(eps);
                FloatVector p = FloatVector.fromMemorySegment(SPECIES, ps, pAt + at, ORDER).mul(keep);
                p.add(m.mul(stepSize).div(denominator)).intoMemorySegment(ps, pAt + at, ORDER);
                m.intoMemorySegment(ms, mAt + at, ORDER);
                v.intoMemorySegment(vs, vAt + at, ORDER);
            }
            OptimizerScalar.adamWRow(
                    parameter,
                    gradient,
                    firstMoment,
                    secondMoment,
                    keep,
                    firstRate,
                    secondKeep,
                    secondRate,
                    correction,
                    eps,
                    stepSize,
                    row,
                    i);
        }
    }

    @Override
    public void sgd(
            Matrix parameter,
            Matrix gradient,
            @Nullable Matrix momentumBuffer,
            float keep,
            float decay,
            float stepSize,
            int rowFrom,
            int rowTo) {
        for (int row = rowFrom; row < rowTo; row++) {
            int done =
                    momentumBuffer == null
                            ? plain(parameter, gradient, decay, stepSize, row)
                            : withMomentum(parameter, gradient, momentumBuffer, keep, decay, stepSize, row);
            OptimizerScalar.sgdRow(parameter, gradient, momentumBuffer, keep, decay, stepSize, row, done);
        }
    }

    private static int plain(Matrix parameter, Matrix gradient, float decay, float stepSize, int row) {
        MemorySegment ps = parameter.segment();
        MemorySegment gs = gradient.segment();
        long pAt = parameter.rowOffset(row);
        long gAt = gradient.rowOffset(row);
        int i = 0;
        for (; i <= parameter.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector p = FloatVector.fromMemorySegment(SPECIES, ps, pAt + 4L * i, ORDER);
            FloatVector g =
                    FloatVector.broadcast(SPECIES, decay)
                            .fma(p, FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER));
            FloatVector.broadcast(SPECIES, stepSize).fma(g, p).intoMemorySegment(ps, pAt + 4L * i, ORDER);
        }
        return i;
    }

    private static int withMomentum(
            Matrix parameter,
            Matrix gradient,
            Matrix momentumBuffer,
            float keep,
            float decay,
            float stepSize,
            int row) {
        MemorySegment ps = parameter.segment();
        MemorySegment gs = gradient.segment();
        MemorySegment bs = momentumBuffer.segment();
        long pAt = parameter.rowOffset(row);
        long gAt = gradient.rowOffset(row);
        long bAt = momentumBuffer.rowOffset(row);
        int i = 0;
        for (; i <= parameter.columns() - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector p = FloatVector.fromMemorySegment(SPECIES, ps, pAt + 4L * i, ORDER);
            FloatVector g =
                    FloatVector.broadcast(SPECIES, decay)
                            .fma(p, FloatVector.fromMemorySegment(SPECIES, gs, gAt + 4L * i, ORDER));
            if (keep != 0) {
                g = FloatVector.fromMemorySegment(SPECIES, bs, bAt + 4L * i, ORDER).mul(keep).add(g);
            }
            g.intoMemorySegment(bs, bAt + 4L * i, ORDER);
            FloatVector.broadcast(SPECIES, stepSize).fma(g, p).intoMemorySegment(ps, pAt + 4L * i, ORDER);
        }
        return i;
    }
}
