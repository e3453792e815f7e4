package io.vectune.quant.hqq;

import java.util.Arrays;

/// The sum of a contiguous run of f32 values in the order of torch's CPU kernel, so that means have its bits.
///
/// The values are rows of 32 lanes (four vectors of eight). Each lane is summed by a cascade of four accumulators:
/// `step` rows go to level 0, which is then moved to level 1, and so on with a carry every `step` moves. At the end the
/// levels are added up, then the vectors that do not fill a row, then the four vectors onto each other, and last the
/// values that do not fill a vector and the eight lanes, left to right.
///
///     step = 2^max(4, ceil(log2 rows) / 4)
///
/// The sums of level 0, over a unit of `step` rows each, do not depend on each other: many threads can make the units of
/// a large sum, which has the same bits.
/// Not for use by two threads at once.
///
/// Source: aten/native/cpu/SumKernel.cpp (cascade_sum), the order that is used without AVX-512 dispatch.
public final class CascadeSum {
    /// Lanes of a row.
    static final int ROW = 32;

    /// Lanes of a vector.
    static final int VECTOR = 8;

    private static final int LEVELS = 4;

    private final long length;
    private final long rows;
    private final int log;
    private final int step;
    private final float[] levels = new float[LEVELS * ROW];
    private final float[] block = new float[ROW];

    /// @param length number of values
    public CascadeSum(long length) {
        this.length = length;
        this.rows = length / ROW;
        this.log = Math.max(4, ceilLog2(rows) / 4);
        this.step = 1 << log;
    }

    private static int ceilLog2(long value) {
        return value <= 1 ? 0 : 64 - Long.numberOfLeadingZeros(value - 1);
    }

    /// Rows of a unit, which level 0 sums.
    int unitRows() {
        return step;
    }

    /// Values in a unit.
    int unitLength() {
        return ROW * step;
    }

    /// Number of full units.
    int fullUnits() {
        return Math.toIntExact(rows / step);
    }

    private int fullBlocks() {
        return (int) (rows / ((long) step * step));
    }

    /// The whole sum from the sums of all full units, lane by lane, and the values behind them.
    ///
    /// @param units [fullUnits][32]
    /// @param tail the values behind the last full unit
    float sum(float[] units, float[] tail) {
        if (length < ROW) {
            return sum(tail, 0);
        }
        Arrays.fill(levels, 0f);
        for (int b = 0; b < fullBlocks(); b++) {
            SolverKernels.ACTIVE.sumRows(units, b * step * ROW, step, block, 0);
            addBlock(b, block, 0);
        }
        int summed = fullBlocks() * step;
        SolverKernels.ACTIVE.sumRows(units, summed * ROW, fullUnits() - summed, levels, ROW);
        return finish(tail, 0, (int) (length - (long) fullUnits() * unitLength()));
    }

    /// The same from the sums of blocks of `unitRows` units each, the last one perhaps not full.
    ///
    /// @param blocks block b is `blocks[from + b * stride, + 32)`
    /// @param tail the values behind the last full unit
    float sumOfBlocks(float[] blocks, int from, int stride, float[] tail) {
        if (length < ROW) {
            return sum(tail, 0);
        }
        Arrays.fill(levels, 0f);
        for (int b = 0; b < fullBlocks(); b++) {
            addBlock(b, blocks, from + b * stride);
        }
        if (fullBlocks() * step < fullUnits()) {
            System.arraycopy(blocks, from + fullBlocks() * stride, levels, ROW, ROW);
        }
        return finish(tail, 0, (int) (length - (long) fullUnits() * unitLength()));
    }

    /// Moves the sum of block b of level 1 on to level 2, and that to level 3 when it is full.
    private void addBlock(int b, float[] sum, int from) {
        add(levels, 2 * ROW, sum, from);
        if ((b + 1) % step == 0) {
            add(levels, 3 * ROW, levels, 2 * ROW);
            Arrays.fill(levels, 2 * ROW, 3 * ROW, 0f);
        }
    }

    /// The sum of `values[from, from + length)`.
    public float sum(float[] values, int from) {
        if (length < VECTOR) {
            return shortSum(values, from);
        }
        if (length < ROW) {
            return sumOfVectors(values, from);
        }
        Arrays.fill(levels, 0f);
        int count = (int) length;
        int at = 0;
        for (int b = 0; b < fullBlocks(); b++) {
            for (int k = 0; k < step; k++) {
                SolverKernels.ACTIVE.sumRows(values, from + at, step, block, 0);
                add(levels, ROW, block, 0);
                at += step * ROW;
            }
            addBlock(b, levels, ROW);
            Arrays.fill(levels, ROW, 2 * ROW, 0f);
        }
        return finish(values, from + at, count - at);
    }

    /// Adds what does not fill a block of level 1; levels 2 and 3 hold the blocks, level 1 the units counted before.
    private float finish(float[] values, int from, int count) {
        int at = from;
        int rest = count;
        while (rest >= step * ROW) {
            SolverKernels.ACTIVE.sumRows(values, at, step, block, 0);
            add(levels, ROW, block, 0);
            at += step * ROW;
            rest -= step * ROW;
        }
        SolverKernels.ACTIVE.sumRows(values, at, rest / ROW, block, 0);
        at += rest / ROW * ROW;
        rest %= ROW;
        for (int level = 1; level < LEVELS; level++) {
            add(block, 0, levels, level * ROW);
        }
        while (rest >= VECTOR) {
            for (int lane = 0; lane < VECTOR; lane++) {
                block[lane] += values[at + lane];
            }
            at += VECTOR;
            rest -= VECTOR;
        }
        float sum = 0;
        for (int i = 0; i < rest; i++) {
            sum += values[at + i];
        }
        for (int lane = 0; lane < VECTOR; lane++) {
            float whole = block[lane] + block[VECTOR + lane];
            whole += block[2 * VECTOR + lane];
            whole += block[3 * VECTOR + lane];
            sum += whole;
        }
        return sum;
    }

    /// Less than a row: no cascade.
    private float sumOfVectors(float[] values, int from) {
        int end = from + (int) length;
        int vectors = (int) length / VECTOR * VECTOR;
        float sum = 0;
        for (int i = from + vectors; i < end; i++) {
            sum += values[i];
        }
        for (int lane = 0; lane < VECTOR; lane++) {
            float whole = 0;
            for (int i = lane; i < vectors; i += VECTOR) {
                whole += values[from + i];
            }
            sum += whole;
        }
        return sum;
    }

    private float shortSum(float[] values, int from) {
        int count = (int) length;
        int quarter = count / 4;
        float first = 0f + (quarter > 0 ? values[from] : 0f);
        for (int i = 4 * quarter; i < count; i++) {
            first += values[from + i];
        }
        for (int k = 1; k < 4 && quarter > 0; k++) {
            first += values[from + k];
        }
        return first;
    }

    private static void add(float[] to, int toFrom, float[] values, int from) {
        for (int lane = 0; lane < ROW; lane++) {
            to[toFrom + lane] += values[from + lane];
        }
    }
}
