package io.vectune.quant.hqq;

/// The mean error of each step, in torch's order (see [CascadeSum]), from parts that many threads make.
///
/// Units are summed up in blocks of as many units as a unit has rows, unit by unit from the first: two threads never
/// add to one block.
final class ErrorSums {
    private final long count;
    private final CascadeSum sum;
    private final int steps;

    /// [blocks][steps][32]: what one chunk adds to lies side by side.
    private final float[] blocks;

    private final float[][] tails;

    /// @param count number of errors
    /// @param steps number of steps
    ErrorSums(long count, int steps) {
        this.count = count;
        this.sum = new CascadeSum(count);
        this.steps = steps;
        this.blocks = new float[Math.ceilDiv(sum.fullUnits(), sum.unitRows()) * steps * CascadeSum.ROW];
        this.tails = new float[steps][(int) (count - (long) sum.fullUnits() * sum.unitLength())];
    }

    /// Number of errors.
    long count() {
        return count;
    }

    /// Errors in a unit.
    int unitLength() {
        return sum.unitLength();
    }

    /// Errors in a block.
    long blockLength() {
        return (long) sum.unitLength() * sum.unitRows();
    }

    /// Adds the sums of units that follow each other.
    ///
    /// @param unitSums [units][32]
    void add(int step, int firstUnit, int units, float[] unitSums) {
        int unit = firstUnit;
        while (unit < firstUnit + units) {
            int block = unit / sum.unitRows();
            int end = Math.min(firstUnit + units, (block + 1) * sum.unitRows());
            SolverKernels.ACTIVE.addRows(
                    unitSums,
                    (unit - firstUnit) * CascadeSum.ROW,
                    end - unit,
                    blocks,
                    (block * steps + step) * CascadeSum.ROW);
            unit = end;
        }
    }

    /// Sets the errors behind the last full unit; none if `length` is zero.
    void setTail(int step, float[] errors, int from, int length) {
        System.arraycopy(errors, from, tails[step], 0, length);
    }

    /// The mean of all errors of a step.
    float mean(int step) {
        return sum.sumOfBlocks(blocks, step * CascadeSum.ROW, steps * CascadeSum.ROW, tails[step]) / (float) count;
    }
}
