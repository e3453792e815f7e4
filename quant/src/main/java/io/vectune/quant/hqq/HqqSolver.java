package io.vectune.quant.hqq;

import io.vectune.runtime.compute.Compute;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Scales and zero points of one matrix of groups: their start from the range of each group, and the half-quadratic
/// solver that then moves the zero points.
///
///     inverse = min(RN(RN(1 / (max - min)) * maxCode), 2e4), 1 where max - min <= 1e-4      (1 / scale)
///     zero = RN(-min * inverse), rounded to an integer if asked for
///     up to 20 times, until the mean error no longer falls:
///         W' = (code - zero) / inverse;  E = shrink(W - W');  zero = mean of (code - (W - E) * inverse)
///
/// The scale never moves. The step in which the error no longer falls keeps its zero points. The stop looks at the mean
/// over the whole matrix: it is summed exactly as torch sums it with one thread, unit by unit, by any number of
/// threads. Weights are read once a step. Source: hqq/core/optimize.py (optimize_weights_proximal_legacy).
final class HqqSolver {
    private static final int STEPS = 20;
    private static final double BETA = 10;
    private static final double KAPPA = 1.01;
    private static final int COLUMN_BLOCK = 512;

    private final Compute compute;
    private final MemorySegment weights;
    private final HqqGeometry geometry;
    private final int groupSize;
    private final int groups;
    private final GroupLevels levels;

    /// @param weights f32 [elements of the geometry]
    HqqSolver(Compute compute, MemorySegment weights, HqqGeometry geometry, int maxCode) {
        this.compute = compute;
        this.weights = weights;
        this.geometry = geometry;
        this.groupSize = geometry.groupSize();
        this.groups = geometry.groups();
        this.levels = GroupLevels.of(groups, maxCode);
    }

    /// The levels found so far.
    GroupLevels levels() {
        return levels;
    }

    /// The start from the range of each group.
    ///
    /// @return whether all weights are finite; if not, the result has no meaning
    boolean start(boolean roundZero) {
        boolean[] finite = new boolean[groups];
        if (geometry.axis() == 1) {
            compute.team()
                    .run(
                            groups,
                            1 + 65536 / groupSize,
                            (from, to, worker) -> {
                                float[] range = new float[2];
                                for (int group = from; group < to; group++) {
                                    range[0] = Float.POSITIVE_INFINITY;
                                    range[1] = Float.NEGATIVE_INFINITY;
                                    long at = (long) group * groupSize;
                                    finite[group] = SolverKernels.ACTIVE.range(weights, at, groupSize, range);
                                    levels.start(group, range[0], range[1], roundZero);
                                }
                            });
        } else {
            compute.team()
                    .run(
                            blocks(groups, COLUMN_BLOCK),
                            1,
                            (from, to, worker) -> {
                                float[] min = new float[COLUMN_BLOCK];
                                float[] max = new float[COLUMN_BLOCK];
                                for (int block = from; block < to; block++) {
                                    startColumns(block * COLUMN_BLOCK, min, max, finite, roundZero);
                                }
                            });
        }
        for (boolean each : finite) {
            if (!each) {
                return false;
            }
        }
        return true;
    }

    private void startColumns(int column, float[] min, float[] max, boolean[] finite, boolean roundZero) {
        int count = Math.min(COLUMN_BLOCK, groups - column);
        Arrays.fill(min, Float.POSITIVE_INFINITY);
        Arrays.fill(max, Float.NEGATIVE_INFINITY);
        boolean all = true;
        for (int row = 0; row < groupSize; row++) {
            all &= SolverKernels.ACTIVE.rangeAcross(weights, (long) row * groups + column, count, min, max, 0);
        }
        for (int i = 0; i < count; i++) {
            finite[column + i] = all;
            levels.start(column + i, min[i], max[i], roundZero);
        }
    }

    /// The start, and up to 20 steps of the solver.
    ///
    /// @param kappaSchedule whether beta grows from step to step
    /// @return whether all weights are finite; if not, the result has no meaning
    boolean solve(boolean roundZero, boolean kappaSchedule) {
        if (SettlingSolver.fits(geometry)) {
            float[] inverseBetas = inverseBetas(kappaSchedule);
            return new SettlingSolver(compute, weights, geometry, levels, roundZero, inverseBetas).solve();
        }
        if (!start(roundZero)) {
            return false;
        }
        solveByPasses(kappaSchedule);
        return true;
    }

    private static float[] inverseBetas(boolean kappaSchedule) {
        float[] inverse = new float[STEPS];
        double beta = BETA;
        for (int step = 0; step < STEPS; step++) {
            inverse[step] = (float) (1.0 / beta);
            beta *= kappaSchedule ? KAPPA : 1;
        }
        return inverse;
    }

    /// One pass over all weights a step, for groups of any size, from the start.
    void solveByPasses(boolean kappaSchedule) {
        long mark = compute.workspace().mark();
        try {
            SolverElements elements = new SolverElements(weights, geometry.elements(), levels);
            SolverStep pass =
                    geometry.axis() == 1 || groups == 1
                            ? new StepAlong(compute, elements, groupSize)
                            : new StepAcross(compute, elements, groupSize);
            float best = Float.POSITIVE_INFINITY;
            for (float inverseBeta : inverseBetas(kappaSchedule)) {
                pass.run(inverseBeta);
                float error = elements.meanError();
                if (!(error < best)) {
                    return;
                }
                best = error;
            }
        } finally {
            compute.workspace().release(mark);
        }
    }

    private static int blocks(long count, int size) {
        return (int) ((count + size - 1) / size);
    }
}
