package io.vectune.quant.hqq;

import java.util.Arrays;

/// Sums down the columns of a matrix in the order of torch's CPU kernel (see [CascadeSum]): means over axis 0.
///
/// Columns in full blocks of 32 are summed by one cascade over all rows. The columns behind them are summed as four
/// cascades over the rows of equal index modulo 4, which are then added up; so are all columns of a matrix with 8 to 31
/// columns. A matrix with fewer than 8 columns has its first multiple of four in one cascade. A single column is
/// contiguous memory and summed as such.
final class ColumnSum {
    private static final int LEVELS = 4;

    private final int rows;
    private final float[] levels;
    private final int width;
    private final int log;
    private final int step;
    private int seen;

    /// @param rows rows of the matrix
    /// @param width the most columns that one pass sums
    ColumnSum(int rows, int width) {
        this.rows = rows;
        this.width = width;
        this.levels = new float[LEVELS * width];
        int ceilLog2 = rows <= 1 ? 0 : 32 - Integer.numberOfLeadingZeros(rows - 1);
        this.log = Math.max(4, ceilLog2 / 4);
        this.step = 1 << log;
    }

    /// Columns, from the left, whose sum is one cascade over all rows.
    static long wholeColumns(long columns) {
        return columns >= 8 ? columns / 32 * 32 : columns / 4 * 4;
    }

    /// Starts a pass over all rows of some columns.
    void start() {
        Arrays.fill(levels, 0f);
        seen = 0;
    }

    /// Adds the next row.
    void add(float[] row, int from, int count) {
        SolverKernels.ACTIVE.add(row, from, count, levels, 0);
        seen++;
        if (seen % step == 0) {
            for (int level = 1; level < LEVELS; level++) {
                SolverKernels.ACTIVE.add(levels, (level - 1) * width, count, levels, level * width);
                Arrays.fill(levels, (level - 1) * width, (level - 1) * width + count, 0f);
                if ((seen & ((step - 1) << (level * log))) != 0) {
                    break;
                }
            }
        }
    }

    /// Ends the pass: the sums are the first `count` values of the result, valid until the next pass.
    float[] finish(int count) {
        for (int level = 1; level < LEVELS; level++) {
            SolverKernels.ACTIVE.add(levels, level * width, count, levels, 0);
        }
        return levels;
    }

    /// The sum of one column as four cascades.
    ///
    /// @param values element r of the column is `values[from + r * stride]`
    static float split(float[] values, int from, int stride, int rows) {
        int quarter = rows / 4;
        float[] part = new float[4];
        for (int k = 0; k < 4; k++) {
            part[k] = cascade(values, from + k * stride, 4 * stride, quarter);
        }
        for (int row = 4 * quarter; row < rows; row++) {
            part[0] += values[from + row * stride];
        }
        return part[0] + part[1] + part[2] + part[3];
    }

    private static float cascade(float[] values, int from, int stride, int rows) {
        ColumnSum sum = new ColumnSum(rows, 1);
        float[] value = new float[1];
        for (int row = 0; row < sum.rows; row++) {
            value[0] = values[from + row * stride];
            sum.add(value, 0, 1);
        }
        return sum.finish(1)[0];
    }
}
