package io.vectune.quant.hqq;

import java.lang.foreign.MemorySegment;

/// The weights of one solver as a flat run of elements, the levels of their groups, and the sum of their errors in the
/// making: units of the sum (see [CascadeSum]) are independent of each other.
final class SolverElements {
    private final MemorySegment weights;
    private final long count;
    private final GroupLevels levels;
    private final long vectorized;
    private final CascadeSum errorSum;
    private final float[] units;
    private final float[] tail;

    SolverElements(MemorySegment weights, long count, GroupLevels levels) {
        this.weights = weights;
        this.count = count;
        this.levels = levels;
        // torch's loop takes two vectors of 16 at a time; the rest is computed element by element
        this.vectorized = count / 32 * 32;
        this.errorSum = new CascadeSum(count);
        this.units = new float[errorSum.fullUnits() * CascadeSum.ROW];
        this.tail = new float[(int) (count - (long) errorSum.fullUnits() * errorSum.unitLength())];
    }

    /// Number of weights.
    long count() {
        return count;
    }

    /// The levels of all groups.
    GroupLevels levels() {
        return levels;
    }

    /// Weights in a unit of the sum of errors.
    int unitLength() {
        return errorSum.unitLength();
    }

    /// Number of units, the last one perhaps not full.
    int units() {
        return errorSum.fullUnits() + (tail.length == 0 ? 0 : 1);
    }

    private boolean isFull(int unit) {
        return unit < errorSum.fullUnits();
    }

    /// Targets of weights with levels of their own: weight `at + i` has those of `own` at `from + i`.
    ///
    /// @param errors `errors[i]` becomes the error of weight `at + i`
    /// @param powers scratch, [SolverKernels#POWER_SCRATCH] times as long
    void step(
            long at,
            int length,
            GroupLevels own,
            int from,
            float inverseBeta,
            float[] targets,
            int targetsFrom,
            float[] errors,
            float[] powers) {
        SolverKernels kernels = SolverKernels.ACTIVE;
        if (kernels.step(weights, at, length, own, from, targets, targetsFrom, errors, 0)) {
            return;
        }
        int inLoop = Math.clamp(vectorized - at, 0, length);
        kernels.shrink(weights, at, inLoop, own, from, inverseBeta, targets, targetsFrom, errors, 0, powers);
        for (int i = inLoop; i < length; i++) {
            if (errors[i] > ProximalShrink.SURELY_ZERO) {
                targets[targetsFrom + i] =
                        ScalarSolverKernels.shrunkTarget(weights, at + i, own, from + i, inverseBeta, true);
            }
        }
    }

    /// The errors of a unit.
    void setErrors(int unit, float[] errors) {
        if (isFull(unit)) {
            SolverKernels.ACTIVE.sumRows(errors, 0, errorSum.unitRows(), units, unit * CascadeSum.ROW);
        } else {
            System.arraycopy(errors, 0, tail, 0, tail.length);
        }
    }

    /// The mean of all errors, in torch's order.
    float meanError() {
        return errorSum.sum(units, tail) / (float) count;
    }
}
