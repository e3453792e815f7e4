package io.vectune.quant.hqq;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
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
/// over the whole matrix: it is summed exactly as torch sums it with one thread, block by block, by any number of
/// threads. Weights are read once a step. Source: hqq/core/optimize.py (optimize_weights_proximal_legacy).
final class HqqSolver {
    private static final int STEPS = 20;
    private static final double BETA = 10;
    private static final double KAPPA = 1.01;
    private static final float SMALL_RANGE = 1e-4f;
    private static final float LARGEST_INVERSE = 2e4f;
    private static final int COLUMN_BLOCK = 512;

    private final Compute compute;
    private final MemorySegment weights;
    private final HqqGeometry geometry;
    private final long elements;
    private final int groupSize;
    private final int groups;
    private final float maxCode;
    private final long vectorized;
    private final float[] inverse;
    private final float[] zero;

    /// @param weights f32 [elements of the geometry]
    HqqSolver(Compute compute, MemorySegment weights, HqqGeometry geometry, int maxCode) {
        this.compute = compute;
        this.weights = weights;
        this.geometry = geometry;
        this.elements = geometry.elements();
        this.groupSize = geometry.groupSize();
        this.groups = geometry.groups();
        this.maxCode = maxCode;
        // torch's loop takes two vectors of 16 at a time; the rest is computed element by element
        this.vectorized = elements / 32 * 32;
        this.inverse = new float[groups];
        this.zero = new float[groups];
    }

    /// 1 / scale of each group.
    float[] inverse() {
        return inverse;
    }

    /// The zero point of each group.
    float[] zero() {
        return zero;
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
                                    start(group, range[0], range[1], roundZero);
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
            start(column + i, min[i], max[i], roundZero);
        }
    }

    private void start(int group, float min, float max, boolean roundZero) {
        float range = max - min;
        // hqq divides an integer by a tensor, which torch computes as a product with the reciprocal: two roundings
        float scaled = 1f / range * maxCode;
        float start = Math.min(range <= SMALL_RANGE ? 1f : scaled, LARGEST_INVERSE);
        float offset = -min * start;
        inverse[group] = start;
        zero[group] = roundZero ? (float) Math.rint(offset) : offset;
    }

    /// Runs the solver.
    ///
    /// @param kappaSchedule whether beta grows from step to step
    /// @return the number of steps taken
    int solve(boolean kappaSchedule) {
        CascadeSum errorSum = new CascadeSum(elements);
        int block = errorSum.blockLength();
        float[] lanes = new float[errorSum.fullBlocks() * CascadeSum.ROW];
        float[] tail = new float[(int) (elements - (long) errorSum.fullBlocks() * block)];
        boolean fused = geometry.axis() == 1 && block % groupSize == 0;
        long mark = compute.workspace().mark();
        try {
            int rows = blocks(elements, block);
            Matrix errors = compute.workspace().matrix(fused ? 1 : rows, fused ? 1 : block);
            float best = Float.POSITIVE_INFINITY;
            double beta = BETA;
            for (int step = 1; step <= STEPS; step++) {
                float inverseBeta = (float) (1.0 / beta);
                if (fused) {
                    stepFused(rows, block, inverseBeta, lanes, tail);
                } else {
                    if (geometry.axis() == 1) {
                        stepGroups(inverseBeta, errors);
                    } else {
                        stepColumns(inverseBeta, errors);
                    }
                    sumErrors(rows, block, errors, lanes, tail);
                }
                float error = errorSum.sum(lanes, tail) / (float) elements;
                if (!(error < best)) {
                    return step;
                }
                best = error;
                if (kappaSchedule) {
                    beta *= KAPPA;
                }
            }
            return STEPS;
        } finally {
            compute.workspace().release(mark);
        }
    }

    /// Groups and blocks of the error sum end together: errors stay in the cache.
    private void stepFused(int rows, int block, float inverseBeta, float[] lanes, float[] tail) {
        compute.team()
                .run(
                        rows,
                        1,
                        (from, to, worker) -> {
                            CascadeSum errorSum = new CascadeSum(elements);
                            CascadeSum groupSum = new CascadeSum(groupSize);
                            float[] errors = compute.scratch(worker, 0, block);
                            boolean shortGroups =
                                    groupSize % CascadeSum.ROW == 0 && groupSize <= SolverKernels.LARGEST_SHORT_GROUP;
                            float[] targets = compute.scratch(worker, 1, shortGroups ? block : groupSize);
                            float[] sums = new float[SolverKernels.MEANS_SCRATCH];
                            for (int row = from; row < to; row++) {
                                long start = (long) row * block;
                                int count = (int) Math.min(block, elements - start);
                                for (int at = 0; at < count; at += groupSize) {
                                    int group = (int) ((start + at) / groupSize);
                                    if (shortGroups) {
                                        stepGroup(group, inverseBeta, targets, at, errors, at);
                                    } else {
                                        stepGroup(group, inverseBeta, targets, 0, errors, at);
                                        zero[group] = groupSum.sum(targets, 0) / groupSize;
                                    }
                                }
                                if (shortGroups) {
                                    int group = (int) (start / groupSize);
                                    SolverKernels.ACTIVE.means(
                                            targets, groupSize, count / groupSize, zero, group, sums);
                                }
                                if (row < errorSum.fullBlocks()) {
                                    errorSum.sumBlock(errors, 0, lanes, row * CascadeSum.ROW);
                                } else {
                                    System.arraycopy(errors, 0, tail, 0, count);
                                }
                            }
                        });
    }

    private void stepGroups(float inverseBeta, Matrix errors) {
        compute.team()
                .run(
                        groups,
                        1 + 16384 / groupSize,
                        (from, to, worker) -> {
                            CascadeSum groupSum = new CascadeSum(groupSize);
                            float[] scratch = compute.scratch(worker, 0, groupSize);
                            float[] targets = compute.scratch(worker, 1, groupSize);
                            for (int group = from; group < to; group++) {
                                stepGroup(group, inverseBeta, targets, 0, scratch, 0);
                                zero[group] = groupSum.sum(targets, 0) / groupSize;
                                store(scratch, errors, (long) group * groupSize, groupSize);
                            }
                        });
    }

    /// Errors and targets of one group; its zero point stays.
    private void stepGroup(
            int group, float inverseBeta, float[] targets, int targetsFrom, float[] errors, int errorsFrom) {
        long at = (long) group * groupSize;
        boolean small =
                SolverKernels.ACTIVE.step(
                        weights,
                        at,
                        groupSize,
                        inverse[group],
                        zero[group],
                        maxCode,
                        targets,
                        targetsFrom,
                        errors,
                        errorsFrom);
        if (!small) {
            for (int i = 0; i < groupSize; i++) {
                if (errors[errorsFrom + i] > ProximalShrink.SURELY_ZERO) {
                    targets[targetsFrom + i] = shrunkTarget(at + i, group, inverseBeta);
                }
            }
        }
    }

    private float shrunkTarget(long at, int group, float inverseBeta) {
        float weight = weights.get(Tensor.FLOAT, 4 * at);
        float code = ScalarSolverKernels.code(weight, inverse[group], zero[group], maxCode);
        float error = weight - (code - zero[group]) / inverse[group];
        float kept = weight - ProximalShrink.shrink(error, inverseBeta, at >= vectorized);
        return code - kept * inverse[group];
    }

    private void stepColumns(float inverseBeta, Matrix errors) {
        if (groups == 1) {
            stepGroups(inverseBeta, errors);
            return;
        }
        int whole = (int) ColumnSum.wholeColumns(groups);
        int wholeBlocks = blocks(whole, COLUMN_BLOCK);
        compute.team()
                .run(
                        wholeBlocks + (whole < groups ? 1 : 0),
                        1,
                        (from, to, worker) -> {
                            ColumnSum sum = new ColumnSum(groupSize, COLUMN_BLOCK);
                            float[] scratch = compute.scratch(worker, 0, COLUMN_BLOCK);
                            float[] targets = compute.scratch(worker, 1, COLUMN_BLOCK);
                            for (int block = from; block < to; block++) {
                                if (block == wholeBlocks) {
                                    stepLastColumns(whole, inverseBeta, scratch, errors);
                                    continue;
                                }
                                int column = block * COLUMN_BLOCK;
                                int count = Math.min(COLUMN_BLOCK, whole - column);
                                sum.start();
                                for (int row = 0; row < groupSize; row++) {
                                    stepRow(row, column, count, inverseBeta, targets, 0, scratch, errors);
                                    sum.add(targets, 0, count);
                                }
                                float[] sums = sum.finish(count);
                                for (int i = 0; i < count; i++) {
                                    zero[column + i] = sums[i] / groupSize;
                                }
                            }
                        });
    }

    private void stepLastColumns(int column, float inverseBeta, float[] scratch, Matrix errors) {
        int count = groups - column;
        float[] targets = new float[Math.multiplyExact(groupSize, count)];
        for (int row = 0; row < groupSize; row++) {
            stepRow(row, column, count, inverseBeta, targets, row * count, scratch, errors);
        }
        for (int i = 0; i < count; i++) {
            zero[column + i] = ColumnSum.split(targets, i, count, groupSize) / groupSize;
        }
    }

    private void stepRow(
            int row,
            int column,
            int count,
            float inverseBeta,
            float[] targets,
            int targetsFrom,
            float[] scratch,
            Matrix errors) {
        long at = (long) row * groups + column;
        boolean small =
                SolverKernels.ACTIVE.stepAcross(
                        weights, at, count, inverse, zero, column, maxCode, targets, targetsFrom, scratch, 0);
        if (!small) {
            for (int i = 0; i < count; i++) {
                if (scratch[i] > ProximalShrink.SURELY_ZERO) {
                    targets[targetsFrom + i] = shrunkTarget(at + i, column + i, inverseBeta);
                }
            }
        }
        store(scratch, errors, at, count);
    }

    private void sumErrors(int rows, int block, Matrix errors, float[] lanes, float[] tail) {
        compute.team()
                .run(
                        rows,
                        1,
                        (from, to, worker) -> {
                            CascadeSum errorSum = new CascadeSum(elements);
                            float[] scratch = compute.scratch(worker, 0, block);
                            for (int row = from; row < to; row++) {
                                boolean full = row < errorSum.fullBlocks();
                                MemorySegment.copy(
                                        errors.segment(),
                                        Tensor.FLOAT,
                                        errors.rowOffset(row),
                                        full ? scratch : tail,
                                        0,
                                        full ? block : tail.length);
                                if (full) {
                                    errorSum.sumBlock(scratch, 0, lanes, row * CascadeSum.ROW);
                                }
                            }
                        });
    }

    private static void store(float[] values, Matrix errors, long at, int count) {
        MemorySegment.copy(values, 0, errors.segment(), Tensor.FLOAT, errors.offset() + 4 * at, count);
    }

    private static int blocks(long count, int size) {
        return (int) ((count + size - 1) / size);
    }
}
