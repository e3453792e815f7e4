package io.vectune.runtime.nn;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// [Exp] in vectors: the same operations in the same order, hence the same bits.
final class ExpVector {
    private ExpVector() {}

    /// exp of every lane.
    static FloatVector exp(FloatVector x) {
        return finite(x)
                .blend(0, x.compare(VectorOperators.LT, Exp.LOWEST))
                .blend(x.add(Float.POSITIVE_INFINITY), x.compare(VectorOperators.LE, Exp.HIGHEST).not());
    }

    /// exp of lanes that are at most [Exp#HIGHEST]: negative arguments, as in a softmax.
    static FloatVector expNegative(FloatVector x) {
        return finite(x).blend(0, x.compare(VectorOperators.LT, Exp.LOWEST));
    }

    private static FloatVector finite(FloatVector x) {
        FloatVector shifted = x.fma(Lanes.broadcast(Exp.LOG2_E), Lanes.broadcast(Exp.ROUND));
        FloatVector n = shifted.sub(Exp.ROUND);
        FloatVector r = n.fma(Lanes.broadcast(-Exp.LN2_HIGH), x);
        r = n.fma(Lanes.broadcast(-Exp.LN2_LOW), r);
        FloatVector q = r.fma(Lanes.broadcast(Exp.C6), Lanes.broadcast(Exp.C5));
        q = q.fma(r, Lanes.broadcast(Exp.C4));
        q = q.fma(r, Lanes.broadcast(Exp.C3));
        q = q.fma(r, Lanes.broadcast(Exp.C2));
        FloatVector p = r.mul(r).fma(q, r).add(1);
        IntVector exponent = shifted.reinterpretAsInts().sub(Float.floatToRawIntBits(Exp.ROUND));
        return p.reinterpretAsInts().add(exponent.lanewise(VectorOperators.LSHL, 23)).reinterpretAsFloats();
    }

    /// 1 / (1 + exp(-x)) of every lane.
    static FloatVector sigmoid(FloatVector x) {
        return Lanes.broadcast(1).div(exp(x.neg()).add(1));
    }
}
