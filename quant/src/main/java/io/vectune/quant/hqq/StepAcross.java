package io.vectune.quant.hqq;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The pass over groups that are columns of a matrix (groupSize, groups), a block of columns at a time.
///
/// Where rows are whole units of the sum of errors, so is each row of a block: errors do not leave the cache. Otherwise
/// all errors are stored, and summed by a second pass.
final class StepAcross implements SolverStep {
    /// Columns of a block: some vectors of levels and sums for each stay in the nearest cache.
    private static final int BLOCK = 2048;

    /// Stored errors that a thread sums at least.
    private static final int LEAST_SUMMED = 16384;

    private final Compute compute;
    private final SolverElements elements;
    private final int groupSize;
    private final int groups;
    private final int unitLength;
    private final boolean wholeUnits;

    /// Rows of one unit each; one row of one error where errors need not be stored.
    private final Matrix errors;

    StepAcross(Compute compute, SolverElements elements, int groupSize) {
        this.compute = compute;
        this.elements = elements;
        this.groupSize = groupSize;
        this.groups = elements.levels().zero().length;
        this.unitLength = elements.unitLength();
        this.wholeUnits = groups % unitLength == 0;
        this.errors = compute.workspace().matrix(wholeUnits ? 1 : elements.units(), wholeUnits ? 1 : unitLength);
    }

    @Override
    public void run(float inverseBeta) {
        int whole = (int) ColumnSum.wholeColumns(groups);
        int wholeBlocks = Math.ceilDiv(whole, BLOCK);
        compute.team()
                .run(
                        wholeBlocks + (whole < groups ? 1 : 0),
                        1,
                        (from, to, worker) -> {
                            Pass pass = new Pass(worker, inverseBeta);
                            for (int block = from; block < to; block++) {
                                int column = block * BLOCK;
                                if (block < wholeBlocks) {
                                    pass.step(column, Math.min(BLOCK, whole - column));
                                } else {
                                    pass.stepLast(whole);
                                }
                            }
                        });
        if (!wholeUnits) {
            compute.team().run(elements.units(), 1 + LEAST_SUMMED / unitLength, this::sumErrors);
        }
    }

    private void sumErrors(int from, int to, int worker) {
        float[] unit = compute.scratch(worker, 0, unitLength);
        for (int index = from; index < to; index++) {
            int count = (int) Math.min(unitLength, elements.count() - (long) index * unitLength);
            MemorySegment.copy(errors.segment(), Tensor.FLOAT, errors.rowOffset(index), unit, 0, count);
            elements.setErrors(index, unit);
        }
    }

    /// What one thread does.
    private final class Pass {
        private final float inverseBeta;
        private final float[] targets;
        private final float[] scratch;
        private final float[] powers;
        private final ColumnSum sum = new ColumnSum(groupSize, BLOCK);

        private Pass(int worker, float inverseBeta) {
            this.inverseBeta = inverseBeta;
            this.targets = compute.scratch(worker, 0, BLOCK);
            this.scratch = compute.scratch(worker, 1, unitLength);
            this.powers = compute.scratch(worker, 2, SolverKernels.POWER_SCRATCH * unitLength);
        }

        /// Columns whose sum is one cascade over all rows.
        private void step(int column, int count) {
            sum.start();
            for (int row = 0; row < groupSize; row++) {
                stepRow(row, column, count, targets, 0);
                sum.add(targets, 0, count);
            }
            float[] sums = sum.finish(count);
            for (int i = 0; i < count; i++) {
                elements.levels().zero()[column + i] = sums[i] / groupSize;
            }
        }

        /// The columns behind them.
        private void stepLast(int column) {
            int count = groups - column;
            float[] all = new float[Math.multiplyExact(groupSize, count)];
            for (int row = 0; row < groupSize; row++) {
                stepRow(row, column, count, all, row * count);
            }
            for (int i = 0; i < count; i++) {
                elements.levels().zero()[column + i] = ColumnSum.split(all, i, count, groupSize) / groupSize;
            }
        }

        private void stepRow(int row, int column, int count, float[] to, int toFrom) {
            long start = (long) row * groups + column;
            for (int i = 0; i < count; i += unitLength) {
                int length = Math.min(unitLength, count - i);
                long at = start + i;
                elements.step(at, length, elements.levels(), column + i, inverseBeta, to, toFrom + i, scratch, powers);
                if (wholeUnits) {
                    elements.setErrors((int) (at / unitLength), scratch);
                } else {
                    MemorySegment.copy(scratch, 0, errors.segment(), Tensor.FLOAT, errors.offset() + 4 * at, length);
                }
            }
        }
    }
}
