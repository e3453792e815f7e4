package io.vectune.quant.lanes;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicIntegerArray;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;
import org.jspecify.annotations.Nullable;

/// The matrix-vector product of formats of at most 4 bits whose weights are a table, scaled and shifted by group: HQQ of
/// 4, 3, 2 and 1 bits.
///
///     y[row] = sum_column x[column] * (base[code[row, column]] * factor[row, group] + offset[row, group])
///
/// It multiplies from a layout of its own, made from the format's codes when a row is first multiplied, since the
/// formats' orders cost a shuffle or a conversion a vector. One cache line holds 64 columns of two rows:
///
///     word l of the line: bits 4 s, s = 0..3: column 16 s + l of the first row; s = 4..7: column 16 (s - 4) + l of the second
///
/// so that one load and one shift a vector give codes in the order of x, and both rows share the loads of x. The 16
/// values that a code can have in a group are a table in a register: one permutation decodes 16 weights. Bound by the
/// number of cache lines in flight: the lines of the next pair of rows are touched before a pair is multiplied.
///
/// Numerics  one rounding of base * factor + offset, then f32 multiply-adds in an order that depends on nothing
/// Memory    inFeatures / 2 + 8 * inFeatures / groupColumns bytes a row, off-heap, freed with this object
/// Requires  512-bit vectors, inFeatures a multiple of 64, groups of a multiple of 32 columns: see [#supports]
public final class TableRows implements FusedRows {
    private static final int FEW_TOKENS = 10;

    private static final int LINE_COLUMNS = 64;
    private static final long LINE_BYTES = 64;
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final float[] CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    private static final VectorShuffle<Float> LANE_0 = lane(0);
    private static final VectorShuffle<Float> LANE_1 = lane(1);
    private static final VectorShuffle<Float> LANE_2 = lane(2);
    private static final VectorShuffle<Float> LANE_3 = lane(3);

    /// Pairs of rows made ready together.
    private static final int READY_PAIRS = 8;

    /// Floats that the last vector load of group values may touch behind them.
    private static final int PADDING = 16;

    private final float[] base;
    private final RowSource source;
    private final int outFeatures;
    private final int inFeatures;
    private final int lines;
    private final int groups;
    private @Nullable Layout layout;

    /// Keeps the loads that only bring lines into the cache from being left out.
    private int touched;

    /// What the kernels read, made when it is first needed.
    ///
    /// @param ready 1 for parts of [#READY_PAIRS] that are laid out
    private record Layout(MemorySegment codes, MemorySegment values, AtomicIntegerArray ready) {}

    /// @param groupColumns columns that share factor and offset, a multiple of 32
    /// @param base the 16 values of the codes
    public TableRows(int outFeatures, int inFeatures, int groupColumns, float[] base, RowSource source) {
        if (!supports(inFeatures, groupColumns)) {
            throw new IllegalArgumentException(
                    "inFeatures " + inFeatures + " in groups of " + groupColumns + ": not supported");
        }
        if (base.length != 16) {
            throw new IllegalArgumentException("base: expected 16 values, found " + base.length);
        }
        this.base = base.clone();
        this.source = source;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.lines = inFeatures / LINE_COLUMNS;
        this.groups = groupColumns % LINE_COLUMNS == 0 ? lines : 2 * lines;
    }

    private synchronized Layout layout() {
        if (layout == null) {
            Arena arena = Arena.ofAuto();
            layout =
                    new Layout(
                            arena.allocate(pairs() * (lines * LINE_BYTES), LINE_BYTES),
                            arena.allocate(4 * (4L * pairs() * groups + PADDING), LINE_BYTES),
                            new AtomicIntegerArray((pairs() + READY_PAIRS - 1) / READY_PAIRS));
        }
        return layout;
    }

    @Override
    public synchronized long bytes() {
        return layout == null ? 0 : layout.codes.byteSize() + layout.values.byteSize();
    }

    @Override
    public int fewTokens() {
        return FEW_TOKENS;
    }

    @Override
    public int preparedLength() {
        return inFeatures;
    }

    @Override
    public void prepare(MemorySegment x, long offset, float[] prepared, int at) {
        MemorySegment.copy(x, Tensor.FLOAT, offset, prepared, at, inFeatures);
    }

    /// The base of formats whose codes are the numbers 0 to 15.
    public static float[] integers() {
        return CODES.clone();
    }

    /// Whether this machine and these sizes suit the layout.
    public static boolean supports(int inFeatures, int groupColumns) {
        return Lanes.COUNT == 16 && inFeatures % LINE_COLUMNS == 0 && groupColumns % 32 == 0;
    }

    /// Columns that share one factor in [RowSource#read]: 32 or 64.
    public int groupColumns() {
        return inFeatures / groups;
    }

    @Override
    public int pairs() {
        return (outFeatures + 1) / 2;
    }

    @Override
    public void multiply(float[] x, int tokens, Matrix y, int from, int to) {
        Layout made = layout();
        MemorySegment codes = made.codes;
        MemorySegment values = made.values;
        int sum = 0;
        for (int pair = from; pair < to; pair++) {
            if (made.ready.getAcquire(pair / READY_PAIRS) == 0) {
                makeReady(made, pair / READY_PAIRS);
            }
            if (pair + 1 < pairs()) {
                sum += touch(codes, (pair + 1) * (lines * LINE_BYTES), lines);
            }
            int row = 2 * pair;
            boolean both = row + 1 < outFeatures;
            for (int token = 0; token < tokens; token++) {
                long at = y.rowOffset(token) + 4L * row;
                long first = pair * (lines * LINE_BYTES);
                long group = 16L * pair * groups;
                if (groups == lines) {
                    multiplyPair64(
                            base, codes, first, values, group, lines, x, token * inFeatures, y.segment(), at, both);
                } else {
                    multiplyPair32(
                            base, codes, first, values, group, lines, x, token * inFeatures, y.segment(), at, both);
                }
            }
        }
        touched = sum;
    }

    private static int touch(MemorySegment codes, long from, int lines) {
        int sum = 0;
        for (int line = 0; line < lines; line++) {
            sum += codes.get(Tensor.INT, from + LINE_BYTES * line);
        }
        return sum;
    }

    private static void multiplyPair64(
            float[] base,
            MemorySegment codes,
            long from,
            MemorySegment values,
            long group,
            int lines,
            float[] x,
            int xOffset,
            MemorySegment y,
            long to,
            boolean both) {
        FloatVector table = FloatVector.fromArray(Lanes.F32, base, 0);
        FloatVector sum0 = FloatVector.zero(Lanes.F32);
        FloatVector sum1 = FloatVector.zero(Lanes.F32);
        FloatVector sum2 = FloatVector.zero(Lanes.F32);
        FloatVector sum3 = FloatVector.zero(Lanes.F32);
        for (int line = 0; line < lines; line++) {
            IntVector words = IntVector.fromMemorySegment(Lanes.I32, codes, from + LINE_BYTES * line, LITTLE);
            FloatVector meta = FloatVector.fromMemorySegment(Lanes.F32, values, group + 16L * line, LITTLE);
            IntVector table0 = table.fma(meta.rearrange(LANE_0), meta.rearrange(LANE_1)).reinterpretAsInts();
            IntVector table1 = table.fma(meta.rearrange(LANE_2), meta.rearrange(LANE_3)).reinterpretAsInts();
            int at = xOffset + LINE_COLUMNS * line;
            FloatVector x0 = FloatVector.fromArray(Lanes.F32, x, at);
            FloatVector x1 = FloatVector.fromArray(Lanes.F32, x, at + 16);
            FloatVector x2 = FloatVector.fromArray(Lanes.F32, x, at + 32);
            FloatVector x3 = FloatVector.fromArray(Lanes.F32, x, at + 48);
            sum0 = words.selectFrom(table0).reinterpretAsFloats().fma(x0, sum0);
            sum1 = shifted(words, 4).selectFrom(table0).reinterpretAsFloats().fma(x1, sum1);
            sum0 = shifted(words, 8).selectFrom(table0).reinterpretAsFloats().fma(x2, sum0);
            sum1 = shifted(words, 12).selectFrom(table0).reinterpretAsFloats().fma(x3, sum1);
            sum2 = shifted(words, 16).selectFrom(table1).reinterpretAsFloats().fma(x0, sum2);
            sum3 = shifted(words, 20).selectFrom(table1).reinterpretAsFloats().fma(x1, sum3);
            sum2 = shifted(words, 24).selectFrom(table1).reinterpretAsFloats().fma(x2, sum2);
            sum3 = shifted(words, 28).selectFrom(table1).reinterpretAsFloats().fma(x3, sum3);
        }
        FloatVector first = sum0.add(sum1);
        FloatVector second = sum2.add(sum3);
        // The tree of Lanes.sum for both rows at once: the first in the low lanes, the second in the high lanes.
        FloatVector sum =
                first.add(first.rearrange(PairSum.BY_8))
                        .blend(second.add(second.rearrange(PairSum.BY_8)), PairSum.HIGH_LANES);
        sum = sum.add(sum.rearrange(PairSum.BY_4));
        sum = sum.add(sum.rearrange(PairSum.BY_2));
        sum = sum.add(sum.rearrange(PairSum.BY_1));
        y.set(Tensor.FLOAT, to, sum.lane(0));
        if (both) {
            y.set(Tensor.FLOAT, to + 4, sum.lane(PairSum.HIGH_LANE));
        }
    }

    /// As [#multiplyPair64] with two groups a line: the group values of a line are those of the first row's halves,
    /// then of the second's.
    private static void multiplyPair32(
            float[] base,
            MemorySegment codes,
            long from,
            MemorySegment values,
            long group,
            int lines,
            float[] x,
            int xOffset,
            MemorySegment y,
            long to,
            boolean both) {
        FloatVector table = FloatVector.fromArray(Lanes.F32, base, 0);
        FloatVector sum0 = FloatVector.zero(Lanes.F32);
        FloatVector sum1 = FloatVector.zero(Lanes.F32);
        FloatVector sum2 = FloatVector.zero(Lanes.F32);
        FloatVector sum3 = FloatVector.zero(Lanes.F32);
        for (int line = 0; line < lines; line++) {
            IntVector words = IntVector.fromMemorySegment(Lanes.I32, codes, from + LINE_BYTES * line, LITTLE);
            FloatVector meta = FloatVector.fromMemorySegment(Lanes.F32, values, group + 32L * line, LITTLE);
            FloatVector next = FloatVector.fromMemorySegment(Lanes.F32, values, group + 32L * line + 16, LITTLE);
            IntVector table0 = table.fma(meta.rearrange(LANE_0), meta.rearrange(LANE_1)).reinterpretAsInts();
            IntVector table1 = table.fma(meta.rearrange(LANE_2), meta.rearrange(LANE_3)).reinterpretAsInts();
            IntVector table2 = table.fma(next.rearrange(LANE_0), next.rearrange(LANE_1)).reinterpretAsInts();
            IntVector table3 = table.fma(next.rearrange(LANE_2), next.rearrange(LANE_3)).reinterpretAsInts();
            int at = xOffset + LINE_COLUMNS * line;
            FloatVector x0 = FloatVector.fromArray(Lanes.F32, x, at);
            FloatVector x1 = FloatVector.fromArray(Lanes.F32, x, at + 16);
            FloatVector x2 = FloatVector.fromArray(Lanes.F32, x, at + 32);
            FloatVector x3 = FloatVector.fromArray(Lanes.F32, x, at + 48);
            sum0 = words.selectFrom(table0).reinterpretAsFloats().fma(x0, sum0);
            sum1 = shifted(words, 4).selectFrom(table0).reinterpretAsFloats().fma(x1, sum1);
            sum0 = shifted(words, 8).selectFrom(table1).reinterpretAsFloats().fma(x2, sum0);
            sum1 = shifted(words, 12).selectFrom(table1).reinterpretAsFloats().fma(x3, sum1);
            sum2 = shifted(words, 16).selectFrom(table2).reinterpretAsFloats().fma(x0, sum2);
            sum3 = shifted(words, 20).selectFrom(table2).reinterpretAsFloats().fma(x1, sum3);
            sum2 = shifted(words, 24).selectFrom(table3).reinterpretAsFloats().fma(x2, sum2);
            sum3 = shifted(words, 28).selectFrom(table3).reinterpretAsFloats().fma(x3, sum3);
        }
        FloatVector first = sum0.add(sum1);
        FloatVector second = sum2.add(sum3);
        // The tree of Lanes.sum for both rows at once: the first in the low lanes, the second in the high lanes.
        FloatVector sum =
                first.add(first.rearrange(PairSum.BY_8))
                        .blend(second.add(second.rearrange(PairSum.BY_8)), PairSum.HIGH_LANES);
        sum = sum.add(sum.rearrange(PairSum.BY_4));
        sum = sum.add(sum.rearrange(PairSum.BY_2));
        sum = sum.add(sum.rearrange(PairSum.BY_1));
        y.set(Tensor.FLOAT, to, sum.lane(0));
        if (both) {
            y.set(Tensor.FLOAT, to + 4, sum.lane(PairSum.HIGH_LANE));
        }
    }

    private static IntVector shifted(IntVector words, int bits) {
        return words.lanewise(VectorOperators.LSHR, bits);
    }

    /// Lays out some pairs of rows. Two threads that do it at once write the same values.
    private void makeReady(Layout made, int block) {
        MemorySegment codes = made.codes;
        MemorySegment values = made.values;
        byte[] first = new byte[inFeatures];
        byte[] second = new byte[inFeatures];
        float[][] group = new float[4][groups];
        int halves = groups / lines;
        for (int pair = block * READY_PAIRS; pair < Math.min(pairs(), (block + 1) * READY_PAIRS); pair++) {
            source.read(2 * pair, first, group[0], group[1]);
            source.read(Math.min(2 * pair + 1, outFeatures - 1), second, group[2], group[3]);
            long line = pair * (lines * LINE_BYTES);
            for (int column = 0; column < inFeatures; column += LINE_COLUMNS) {
                for (int lane = 0; lane < 16; lane++) {
                    int at = column + lane;
                    int word =
                            first[at]
                                    | first[at + 16] << 4
                                    | first[at + 32] << 8
                                    | first[at + 48] << 12
                                    | second[at] << 16
                                    | second[at + 16] << 20
                                    | second[at + 32] << 24
                                    | second[at + 48] << 28;
                    codes.set(Tensor.INT, line + column + 4L * lane, word);
                }
            }
            long value = 16L * pair * groups;
            for (int i = 0; i < lines; i++) {
                for (int row = 0; row < 2; row++) {
                    for (int half = 0; half < halves; half++) {
                        values.set(Tensor.FLOAT, value, group[2 * row][i * halves + half]);
                        values.set(Tensor.FLOAT, value + 4, group[2 * row + 1][i * halves + half]);
                        value += 8;
                    }
                }
            }
        }
        made.ready.setRelease(block, 1);
    }

    /// What the touching loads added up to: of no use but that they happened.
    int touched() {
        return touched;
    }

    private static VectorShuffle<Float> lane(int index) {
        return VectorShuffle.fromOp(Lanes.F32, lane -> index);
    }
}
