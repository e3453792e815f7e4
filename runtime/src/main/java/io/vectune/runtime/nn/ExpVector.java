package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.SPECIES;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// [Exp] in vectors over arrays: the same operations in the same order, hence the same bits.
final class ExpVector {
    private static final int BIAS = Float.floatToRawIntBits(Exp.ROUND) - 127;

    private ExpVector() {}

    /// Replaces `count` vectors, `step` elements apart, by exp(x - shift), for x - shift up to [Exp#SAFE].
    ///
    /// @param shift one vector at `shiftAt`: what a softmax subtracts
    static void exponentials(float[] x, int at, int step, int count, float[] shift, int shiftAt) {
        FloatVector shifts = FloatVector.fromArray(SPECIES, shift, shiftAt);
        for (int k = 0; k < count; k++) {
            FloatVector z = FloatVector.fromArray(SPECIES, x, at + k * step).sub(shifts);
            FloatVector rounded =
                    z.fma(FloatVector.broadcast(SPECIES, Exp.LOG2_E), FloatVector.broadcast(SPECIES, Exp.ROUND));
            FloatVector n = rounded.sub(Exp.ROUND);
            FloatVector r = n.fma(FloatVector.broadcast(SPECIES, -Exp.LN2_HIGH), z);
            r = n.fma(FloatVector.broadcast(SPECIES, -Exp.LN2_LOW), r);
            FloatVector q = r.fma(FloatVector.broadcast(SPECIES, Exp.C6), FloatVector.broadcast(SPECIES, Exp.C5));
            q = q.fma(r, FloatVector.broadcast(SPECIES, Exp.C4));
            q = q.fma(r, FloatVector.broadcast(SPECIES, Exp.C3));
            q = q.fma(r, FloatVector.broadcast(SPECIES, Exp.C2));
            FloatVector p = r.mul(r).fma(q, r).add(1);
            FloatVector power =
                    rounded.reinterpretAsInts().sub(BIAS).lanewise(VectorOperators.LSHL, 23).reinterpretAsFloats();
            p.mul(power).blend(0, z.compare(VectorOperators.LT, Exp.LOWEST)).intoArray(x, at + k * step);
        }
    }

    /// array[to + i] = 1 / (1 + exp(-array[from + i])) for i below `count`, rounded up to whole vectors.
    static void sigmoids(float[] array, int from, int to, int count) {
        for (int i = 0; i < count; i += Lanes.LENGTH) {
            FloatVector x = FloatVector.fromArray(SPECIES, array, from + i).neg();
            FloatVector rounded =
                    x.fma(FloatVector.broadcast(SPECIES, Exp.LOG2_E), FloatVector.broadcast(SPECIES, Exp.ROUND));
            FloatVector n = rounded.sub(Exp.ROUND);
            FloatVector r = n.fma(FloatVector.broadcast(SPECIES, -Exp.LN2_HIGH), x);
            r = n.fma(FloatVector.broadcast(SPECIES, -Exp.LN2_LOW), r);
            FloatVector q = r.fma(FloatVector.broadcast(SPECIES, Exp.C6), FloatVector.broadcast(SPECIES, Exp.C5));
            q = q.fma(r, FloatVector.broadcast(SPECIES, Exp.C4));
            q = q.fma(r, FloatVector.broadcast(SPECIES, Exp.C3));
            q = q.fma(r, FloatVector.broadcast(SPECIES, Exp.C2));
            FloatVector p = r.mul(r).fma(q, r).add(1);
            FloatVector power =
                    rounded.reinterpretAsInts().sub(BIAS).lanewise(VectorOperators.LSHL, 23).reinterpretAsFloats();
            FloatVector exp = p.mul(power).blend(0, x.compare(VectorOperators.LT, Exp.LOWEST));
            FloatVector.broadcast(SPECIES, 1)
                    .div(exp.add(1))
                    .blend(0, x.compare(VectorOperators.GT, Exp.SAFE))
                    .intoArray(array, to + i);
        }
    }
}
