package io.vectune.quant.hqq;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Start and solver for groups that are whole rows of the sum of errors: a chunk of groups goes through all steps while
/// it stays in the nearest cache, and a group that has settled is not computed again.
///
/// A step is a function of the weights, the scale and the zero point of a group. Once it returns the zero point that it
/// was given, bit for bit, all later steps do so too, and their errors are those of that step: after four or five steps
/// nearly all groups of a model have settled. (With a growing beta that does not hold for errors that the shrinkage
/// leaves: such groups are computed in each step.)
///
/// Where the solver stops is known only from the errors of all chunks. So the steps are taken in advance, all twenty,
/// and the sum of errors is kept for each. A chunk that has moved behind the last step that counts starts again and
/// stops there; few solvers stop before their groups have settled.
final class SettlingSolver {
    /// Weights that a chunk has at least: weights, targets and errors stay in the nearest cache.
    private static final int LEAST_CHUNK = 2048;

    private static final int LARGEST_CHUNK = 1 << 16;

    private final Compute compute;
    private final MemorySegment weights;
    private final GroupLevels levels;
    private final int groupSize;
    private final ErrorSums sums;
    private final int unitLength;
    private final int chunk;
    private final boolean roundZero;
    private final float[] inverseBetas;

    /// How many steps changed a zero point of the chunk.
    private final int[] moves;

    private volatile boolean finite = true;

    /// @param inverseBetas 1 / beta of each step
    SettlingSolver(
            Compute compute,
            MemorySegment weights,
            HqqGeometry geometry,
            GroupLevels levels,
            boolean roundZero,
            float... inverseBetas) {
        this.compute = compute;
        this.weights = weights;
        this.levels = levels;
        this.groupSize = geometry.groupSize();
        this.sums = new ErrorSums(geometry.elements(), inverseBetas.length);
        this.unitLength = sums.unitLength();
        this.chunk = (int) chunk(geometry);
        this.roundZero = roundZero;
        this.inverseBetas = inverseBetas;
        this.moves = new int[Math.toIntExact(Math.ceilDiv(geometry.elements(), chunk))];
    }

    /// Whether it can take such groups.
    static boolean fits(HqqGeometry geometry) {
        return geometry.axis() == 1 && geometry.groupSize() % CascadeSum.ROW == 0 && chunk(geometry) <= LARGEST_CHUNK;
    }

    /// Whole groups, and whole units of the sum of errors.
    private static long chunk(HqqGeometry geometry) {
        long common = commonMultiple(new CascadeSum(geometry.elements()).unitLength(), geometry.groupSize());
        return Math.ceilDiv(LEAST_CHUNK, common) * common;
    }

    private static long commonMultiple(long a, long b) {
        long divisor = a;
        for (long rest = b; rest != 0; ) {
            long next = divisor % rest;
            divisor = rest;
            rest = next;
        }
        return a / divisor * b;
    }

    /// Finds scales and zero points.
    ///
    /// @return whether all weights are finite; if not, the result has no meaning
    boolean solve() {
        int perTask = (int) (commonMultiple(sums.blockLength(), chunk) / chunk);
        compute.team()
                .run(
                        Math.ceilDiv(moves.length, perTask),
                        1,
                        (from, to, worker) -> {
                            Pass pass = new Pass(worker);
                            for (int index = from * perTask; index < Math.min(to * perTask, moves.length); index++) {
                                pass.solve(index);
                            }
                        });
        if (!finite) {
            return false;
        }
        int steps = steps();
        compute.team()
                .run(
                        moves.length,
                        perTask,
                        (from, to, worker) -> {
                            Pass pass = new Pass(worker);
                            for (int index = from; index < to; index++) {
                                if (moves[index] > steps) {
                                    pass.solveAgain(index, steps);
                                }
                            }
                        });
        return true;
    }

    /// Up to the first step whose error is not below that of the step before.
    private int steps() {
        float best = Float.POSITIVE_INFINITY;
        for (int step = 0; step < inverseBetas.length; step++) {
            float error = sums.mean(step);
            if (!(error < best)) {
                return step + 1;
            }
            best = error;
        }
        return inverseBetas.length;
    }

    /// What one thread does.
    private final class Pass {
        private final float[] own;
        private final float[] targets;
        private final float[] errors;
        private final float[] unitSums;
        private final float[] powers;
        private final GroupLevels repeated;
        private final float[] min;
        private final float[] max;
        private final float[] means;
        private final float[] scratch = new float[SolverKernels.MEANS_SCRATCH];
        private final CascadeSum groupSum = new CascadeSum(groupSize);

        /// Units of the chunk whose errors have changed since they were summed.
        private final boolean[] stale;

        private final int unitShift = Integer.numberOfTrailingZeros(unitLength);

        /// Groups of the chunk that have not settled, in ascending order.
        private final int[] moving;

        // the present chunk
        private long at;
        private int count;
        private int firstGroup;
        private int left;

        private Pass(int worker) {
            int groups = chunk / groupSize;
            this.own = compute.scratch(worker, 0, chunk);
            this.targets = compute.scratch(worker, 1, chunk);
            this.errors = compute.scratch(worker, 2, chunk);
            this.unitSums = compute.scratch(worker, 3, chunk / unitLength * CascadeSum.ROW);
            this.powers = compute.scratch(worker, 4, SolverKernels.POWER_SCRATCH * chunk);
            this.repeated =
                    new GroupLevels(
                            compute.scratch(worker, 5, chunk), compute.scratch(worker, 6, chunk), levels.maxCode());
            this.min = new float[groups];
            this.max = new float[groups];
            this.means = new float[groups];
            this.moving = new int[groups];
            this.stale = new boolean[chunk / unitLength];
        }

        private void open(int index) {
            at = (long) index * chunk;
            count = (int) Math.min(chunk, sums.count() - at);
            firstGroup = (int) (at / groupSize);
            left = count / groupSize;
            for (int i = 0; i < left; i++) {
                moving[i] = i;
            }
            MemorySegment.copy(weights, Tensor.FLOAT, 4 * at, own, 0, count);
            if (!SolverKernels.ACTIVE.ranges(own, groupSize, left, min, max)) {
                finite = false;
            }
            for (int i = 0; i < left; i++) {
                levels.start(firstGroup + i, min[i], max[i], roundZero);
            }
        }

        /// All steps of one chunk, and the sums of their errors.
        private void solve(int index) {
            open(index);
            int unit = (int) (at / unitLength);
            int units = count / unitLength;
            for (int step = 0; step < inverseBetas.length; step++) {
                if (left > 0) {
                    step(step);
                    if (left > 0) {
                        moves[index] = step + 1;
                    }
                    sumErrors(units);
                }
                sums.add(step, unit, units, unitSums);
                sums.setTail(step, errors, units * unitLength, count - units * unitLength);
            }
        }

        /// The first steps only.
        private void solveAgain(int index, int steps) {
            open(index);
            for (int step = 0; step < steps && left > 0; step++) {
                step(step);
            }
        }

        private void step(int step) {
            boolean small =
                    SolverKernels.ACTIVE.stepGroups(own, groupSize, moving, left, levels, firstGroup, targets, errors);
            if (!small) {
                shrink(step);
            }
            mean();
            update(small || isConstant(step));
        }

        /// Whether no later step shrinks more.
        private boolean isConstant(int step) {
            return inverseBetas[step] == inverseBetas[inverseBetas.length - 1];
        }

        /// All groups of the chunk, since those with large errors hardly settle.
        private void shrink(int step) {
            int groups = count / groupSize;
            if (left < groups) {
                for (left = 0; left < groups; left++) {
                    moving[left] = left;
                }
                SolverKernels.ACTIVE.stepGroups(own, groupSize, moving, left, levels, firstGroup, targets, errors);
            }
            for (int i = 0; i < groups; i++) {
                repeated.fill(levels, firstGroup + i, i * groupSize, (i + 1) * groupSize);
            }
            SolverKernels.ACTIVE.shrink(
                    weights, at, count, repeated, 0, inverseBetas[step], targets, 0, errors, 0, powers);
        }

        private void mean() {
            if (groupSize <= SolverKernels.LARGEST_SHORT_GROUP) {
                SolverKernels.ACTIVE.means(targets, groupSize, left, means, 0, scratch);
                return;
            }
            for (int i = 0; i < left; i++) {
                means[i] = groupSum.sum(targets, i * groupSize) / groupSize;
            }
        }

        /// Sets the zero points, and forgets groups that have settled.
        private void update(boolean canSettle) {
            float[] zero = levels.zero();
            int still = 0;
            for (int i = 0; i < left; i++) {
                int group = moving[i];
                float next = means[i];
                int lastUnit = ((group + 1) * groupSize - 1) >> unitShift;
                for (int unit = (group * groupSize) >> unitShift; unit <= lastUnit; unit++) {
                    stale[unit] = true;
                }
                float before = zero[firstGroup + group];
                zero[firstGroup + group] = next;
                moving[still] = group;
                if (!canSettle || Float.floatToRawIntBits(before) != Float.floatToRawIntBits(next)) {
                    still++;
                }
            }
            left = still;
        }

        private void sumErrors(int units) {
            for (int unit = 0; unit < units; unit++) {
                if (stale[unit]) {
                    SolverKernels.ACTIVE.sumRows(
                            errors, unit * unitLength, unitLength / CascadeSum.ROW, unitSums, unit * CascadeSum.ROW);
                }
            }
            Arrays.fill(stale, false);
        }
    }
}
