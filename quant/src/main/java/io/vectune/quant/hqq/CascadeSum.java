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
/// The block sums of level 1 do not depend on each other: a large sum can be made by many threads and has the same bits.
/// Source: aten/native/cpu/SumKernel.cpp (cascade_sum), the order that is used without AVX-512 dispatch.
public final class CascadeSum {
    /// Lanes of a row.
    static final int ROW = 32;

    private static final int VECTOR = 8;
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

    /// Values in one block of level 1.
    int blockLength() {
        return ROW * step * step;
    }

    /// Number of full blocks of level 1.
    int fullBlocks() {
        return (int) (rows / ((long) step * step));
    }

    /// The sum of one full block, lane by lane: written to `lanes[at, at + 32)`.
    void sumBlock(float[] values, int from, float[] lanes, int at) {
        Arrays.fill(lanes, at, at + ROW, 0f);
        for (int k = 0; k < step; k++) {
            SolverKernels.ACTIVE.sumRows(values, from + k * step * ROW, step, block);
            add(lanes, at, block, 0);
        }
    }

    /// The whole sum from the sums of all full blocks and the values behind them.
    ///
    /// @param lanes [fullBlocks][32]
    /// @param tail the values behind the last full block
    float sum(float[] lanes, float[] tail) {
        Arrays.fill(levels, 0f);
        int perLevel2 = step;
        for (int b = 0; b < fullBlocks(); b++) {
            add(levels, 2 * ROW, lanes, b * ROW);
            if ((b + 1) % perLevel2 == 0) {
                add(levels, 3 * ROW, levels, 2 * ROW);
                Arrays.fill(levels, 2 * ROW, 3 * ROW, 0f);
            }
        }
        return finish(tail, 0, (int) (length - (long) fullBlocks() * blockLength()));
    }

    /// The sum of `values[from, from + length)`.
    public float sum(float[] values, int from) {
        if (length < VECTOR) {
            return shortSum(values, from);
        }
        Arrays.fill(levels, 0f);
        int count = (int) length;
        int at = 0;
        for (int b = 0; b < fullBlocks(); b++) {
            for (int k = 0; k < step; k++) {
                SolverKernels.ACTIVE.sumRows(values, from + at, step, block);
                add(levels, ROW, block, 0);
                at += step * ROW;
            }
            add(levels, 2 * ROW, levels, ROW);
            Arrays.fill(levels, ROW, 2 * ROW, 0f);
            if ((b + 1) % step == 0) {
                add(levels, 3 * ROW, levels, 2 * ROW);
                Arrays.fill(levels, 2 * ROW, 3 * ROW, 0f);
            }
        }
        return finish(values, from + at, count - at);
    }

    /// Adds what does not fill a block of level 1; levels 2 and 3 hold the blocks, levels 0 and 1 are zero.
    private float finish(float[] values, int from, int count) {
        int at = from;
        int rest = count;
        while (rest >= step * ROW) {
            SolverKernels.ACTIVE.sumRows(values, at, step, block);
            add(levels, ROW, block, 0);
            at += step * ROW;
            rest -= step * ROW;
        }
        SolverKernels.ACTIVE.sumRows(values, at, rest / ROW, block);
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
