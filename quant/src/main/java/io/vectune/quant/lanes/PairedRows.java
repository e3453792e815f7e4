package io.vectune.quant.lanes;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicIntegerArray;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import org.jspecify.annotations.Nullable;

/// The matrix-vector product of formats of at most 4 bits whose groups of 32 or 64 columns have a factor and an offset:
/// Q4_0, Q4_1, Q4_K, and HQQ of 4, 3, 2 and 1 bits.
///
///     y[row] = sum_column x[column] * (factor[row, group] * code[row, column] + offset[row, group])
///
/// It multiplies from a layout of its own, made from the format's codes when a row is first multiplied: blocks of 18, 20
/// or 144 bytes with f16 or 6-bit scales inside, and codes in another order than x, cost several times the operations. Two
/// rows stand together:
///
///     offsets of the first row, of the second | factors of each line: those of the first row, those of the second |
///     lines of 64 bytes, 64 columns of both rows:
///         word l of a line: bits 4 s, s = 0..3: column 16 s + l of the first row; s = 4..7: column 16 (s - 4) + l of the second
///
/// A code is decoded where it stands, as in [ByteRows]: masked, put into the fraction of 2^23, less 2^23 + center * 16^s. Its
/// place 16^s is divided out of x beforehand, exactly. Offsets meet the sums of x over each group, and are left out where
/// they are zero for centered codes (Q4_0).
///
/// Numerics  f32; sums in an order that depends on nothing but the sizes
/// Memory    4 bits a weight, 32 / groupColumns for the factors, as many for the offsets, and padding; off-heap, freed
///           with this object
/// Requires  512-bit vectors, inFeatures a multiple of 64
public final class PairedRows implements FusedRows {
    private static final int FEW_TOKENS = 6;

    private static final int LINE_COLUMNS = 64;

    /// Columns that share a factor and an offset: this, or all of a line.
    private static final int HALF_LINE = 32;

    private static final int LINE_BYTES = 64;
    private static final int LANES = 16;

    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final float BIG = 0x1p23f;
    private static final int BIG_BITS = Float.floatToRawIntBits(BIG);

    /// Pairs of rows made ready together.
    private static final int READY_PAIRS = 8;

    private final RowSource source;
    private final boolean offsets;
    private final int outFeatures;
    private final int inFeatures;
    private final int groupColumns;
    private final int center;
    private final int groups;
    private final int factorsAt;
    private final int linesAt;
    private final int pairBytes;
    private @Nullable Layout layout;

    /// What the kernel reads, made when it is first needed.
    ///
    /// @param ready 1 for parts of [#READY_PAIRS] that are laid out
    private record Layout(MemorySegment rows, AtomicIntegerArray ready) {}

    /// @param groupColumns columns that share a factor and an offset: a multiple of 32, of which 32 or 64 share a value
    ///   here
    /// @param center the code in the middle of the range, which offsets are taken at
    /// @param offsets false if the offset is -center factor in all groups
    public PairedRows(
            int outFeatures, int inFeatures, int groupColumns, int center, boolean offsets, RowSource source) {
        if (!supports(inFeatures, groupColumns)) {
            throw new IllegalArgumentException(
                    "inFeatures " + inFeatures + " in groups of " + groupColumns + ": not supported");
        }
        this.source = source;
        this.center = center;
        this.offsets = offsets;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.groupColumns = groupColumns % LINE_COLUMNS == 0 ? LINE_COLUMNS : HALF_LINE;
        this.groups = inFeatures / this.groupColumns;
        this.factorsAt = offsets ? 2 * 4 * groups : 0;
        // Whole vectors of offsets are loaded: what stands behind the second row's must be numbers too.
        int read = offsets ? 4 * (groups + paddedGroups()) : 0;
        this.linesAt = roundUp(Math.max(factorsAt + 2 * 4 * groups, read), LINE_BYTES);
        this.pairBytes = linesAt + inFeatures;
    }

    private synchronized Layout layout() {
        if (layout == null) {
            layout =
                    new Layout(
                            Arena.ofAuto().allocate((long) pairs() * pairBytes, LINE_BYTES),
                            new AtomicIntegerArray((pairs() + READY_PAIRS - 1) / READY_PAIRS));
        }
        return layout;
    }

    /// Whether this machine and these sizes suit the layout.
    public static boolean supports(int inFeatures, int groupColumns) {
        return Lanes.COUNT == LANES
                && inFeatures > 0
                && inFeatures % LINE_COLUMNS == 0
                && groupColumns % HALF_LINE == 0
                && inFeatures % groupColumns == 0;
    }

    /// Columns that share one factor and offset in [RowSource#read]: 32 or 64.
    public int groupColumns() {
        return groupColumns;
    }

    @Override
    public int fewTokens() {
        return FEW_TOKENS;
    }

    /// x and its sums over groups.
    @Override
    public int preparedLength() {
        return inFeatures + paddedGroups();
    }

    @Override
    public void prepare(MemorySegment x, long offset, float[] prepared, int at) {
        int sums = at + inFeatures;
        for (int group = 0; group < groups; group++) {
            float even = 0;
            float odd = 0;
            for (int column = group * groupColumns; column < (group + 1) * groupColumns; column += HALF_LINE) {
                float step = column % LINE_COLUMNS == 0 ? 1 : 0x1p-8f;
                for (int i = 0; i < LANES; i += 2) {
                    float low0 = x.get(Tensor.FLOAT, offset + 4L * (column + i));
                    float low1 = x.get(Tensor.FLOAT, offset + 4L * (column + i + 1));
                    float high0 = x.get(Tensor.FLOAT, offset + 4L * (column + i + LANES));
                    float high1 = x.get(Tensor.FLOAT, offset + 4L * (column + i + LANES + 1));
                    prepared[at + column + i] = low0 * step;
                    prepared[at + column + i + 1] = low1 * step;
                    prepared[at + column + i + LANES] = high0 * (step * 0x1p-4f);
                    prepared[at + column + i + LANES + 1] = high1 * (step * 0x1p-4f);
                    even += low0 + high0;
                    odd += low1 + high1;
                }
            }
            prepared[sums + group] = even + odd;
        }
        for (int group = groups; group < paddedGroups(); group++) {
            prepared[sums + group] = 0;
        }
    }

    @Override
    public int pairs() {
        return (outFeatures + 1) / 2;
    }

    @Override
    public synchronized long bytes() {
        return layout == null ? 0 : layout.rows.byteSize();
    }

    @Override
    public void multiply(float[] prepared, int tokens, Matrix y, int from, int to) {
        Layout made = layout();
        MemorySegment rows = made.rows;
        int block = Math.max(1, ReadAhead.BYTES / pairBytes);
        int stride = preparedLength();
        boolean ahead = true;
        for (int first = from; first < to; first += block) {
            int end = Math.min(first + block, to);
            for (int part = first / READY_PAIRS; part <= (end - 1) / READY_PAIRS; part++) {
                if (made.ready.getAcquire(part) == 0) {
                    makeReady(made, part);
                }
            }
            if ((first - from) / block % ReadAhead.SAMPLED == 0) {
                ahead = ReadAhead.fromMemory(rows, (long) first * pairBytes, (long) (end - first) * pairBytes);
            } else if (ahead) {
                ReadAhead.read(rows, (long) first * pairBytes, (long) (end - first) * pairBytes);
            }
            for (int pair = first; pair < end; pair++) {
                long at = (long) pair * pairBytes;
                boolean both = 2 * pair + 1 < outFeatures;
                int offsetGroups = offsets ? groups : 0;
                long factorAt = at + factorsAt;
                long lineAt = at + linesAt;
                for (int token = 0; token < tokens; token++) {
                    int xFrom = token * stride;
                    long yAt = y.rowOffset(token) + 8L * pair;
                    if (groupColumns == LINE_COLUMNS) {
                        multiplyPair64(
                                rows,
                                center,
                                at,
                                offsetGroups,
                                factorAt,
                                lineAt,
                                inFeatures,
                                prepared,
                                xFrom,
                                y.segment(),
                                yAt,
                                both);
                    } else {
                        multiplyPair32(
                                rows,
                                center,
                                at,
                                offsetGroups,
                                factorAt,
                                lineAt,
                                inFeatures,
                                prepared,
                                xFrom,
                                y.segment(),
                                yAt,
                                both);
                    }
                }
            }
        }
    }

    /// Two groups a line.
    private static void multiplyPair32(
            MemorySegment rows,
            int center,
            long offsetAt,
            int offsetGroups,
            long factorAt,
            long lineAt,
            int columns,
            float[] x,
            int xFrom,
            MemorySegment y,
            long to,
            boolean both) {
        float base0 = BIG + center;
        float base1 = BIG + (center << 4);
        float base2 = BIG + (center << 8);
        float base3 = BIG + (center << 12);
        FloatVector sum0 = FloatVector.zero(Lanes.F32);
        FloatVector sum1 = FloatVector.zero(Lanes.F32);
        FloatVector sum2 = FloatVector.zero(Lanes.F32);
        FloatVector sum3 = FloatVector.zero(Lanes.F32);
        for (int group = 0; group < offsetGroups; group += LANES) {
            FloatVector sums = FloatVector.fromArray(Lanes.F32, x, xFrom + columns + group);
            long at = offsetAt + 4L * group;
            sum0 = FloatVector.fromMemorySegment(Lanes.F32, rows, at, LITTLE).fma(sums, sum0);
            sum2 = FloatVector.fromMemorySegment(Lanes.F32, rows, at + 4L * offsetGroups, LITTLE).fma(sums, sum2);
        }
        for (int column = 0; column < columns; column += LINE_COLUMNS) {
            IntVector first = IntVector.fromMemorySegment(Lanes.I32, rows, lineAt + column, LITTLE);
            IntVector second = first.lanewise(VectorOperators.LSHR, 16);
            FloatVector x0 = FloatVector.fromArray(Lanes.F32, x, xFrom + column);
            FloatVector x1 = FloatVector.fromArray(Lanes.F32, x, xFrom + column + LANES);
            FloatVector part0 = first.and(0xF).or(BIG_BITS).reinterpretAsFloats().sub(base0).mul(x0);
            FloatVector part2 = second.and(0xF).or(BIG_BITS).reinterpretAsFloats().sub(base0).mul(x0);
            part0 = first.and(0xF0).or(BIG_BITS).reinterpretAsFloats().sub(base1).fma(x1, part0);
            part2 = second.and(0xF0).or(BIG_BITS).reinterpretAsFloats().sub(base1).fma(x1, part2);
            FloatVector x2 = FloatVector.fromArray(Lanes.F32, x, xFrom + column + 2 * LANES);
            FloatVector x3 = FloatVector.fromArray(Lanes.F32, x, xFrom + column + 3 * LANES);
            FloatVector part1 = first.and(0xF00).or(BIG_BITS).reinterpretAsFloats().sub(base2).mul(x2);
            FloatVector part3 = second.and(0xF00).or(BIG_BITS).reinterpretAsFloats().sub(base2).mul(x2);
            part1 = first.and(0xF000).or(BIG_BITS).reinterpretAsFloats().sub(base3).fma(x3, part1);
            part3 = second.and(0xF000).or(BIG_BITS).reinterpretAsFloats().sub(base3).fma(x3, part3);
            long at = factorAt + column / 4;
            sum0 = part0.fma(FloatVector.broadcast(Lanes.F32, rows.get(Tensor.FLOAT, at)), sum0);
            sum1 = part1.fma(FloatVector.broadcast(Lanes.F32, rows.get(Tensor.FLOAT, at + 4)), sum1);
            sum2 = part2.fma(FloatVector.broadcast(Lanes.F32, rows.get(Tensor.FLOAT, at + 8)), sum2);
            sum3 = part3.fma(FloatVector.broadcast(Lanes.F32, rows.get(Tensor.FLOAT, at + 12)), sum3);
        }
        sum0 = sum0.add(sum1);
        sum2 = sum2.add(sum3);
        // The tree of Lanes.sum for both rows at once: the first in the low lanes, the second in the high lanes.
        FloatVector sum =
                sum0.add(sum0.rearrange(PairSum.BY_8))
                        .blend(sum2.add(sum2.rearrange(PairSum.BY_8)), PairSum.HIGH_LANES);
        sum = sum.add(sum.rearrange(PairSum.BY_4));
        sum = sum.add(sum.rearrange(PairSum.BY_2));
        sum = sum.add(sum.rearrange(PairSum.BY_1));
        y.set(Tensor.FLOAT, to, sum.lane(0));
        if (both) {
            y.set(Tensor.FLOAT, to + 4, sum.lane(PairSum.HIGH_LANE));
        }
    }

    /// One group a line.
    private static void multiplyPair64(
            MemorySegment rows,
            int center,
            long offsetAt,
            int offsetGroups,
            long factorAt,
            long lineAt,
            int columns,
            float[] x,
            int xFrom,
            MemorySegment y,
            long to,
            boolean both) {
        float base0 = BIG + center;
        float base1 = BIG + (center << 4);
        float base2 = BIG + (center << 8);
        float base3 = BIG + (center << 12);
        FloatVector sum0 = FloatVector.zero(Lanes.F32);
        FloatVector sum1 = FloatVector.zero(Lanes.F32);
        for (int group = 0; group < offsetGroups; group += LANES) {
            FloatVector sums = FloatVector.fromArray(Lanes.F32, x, xFrom + columns + group);
            long at = offsetAt + 4L * group;
            sum0 = FloatVector.fromMemorySegment(Lanes.F32, rows, at, LITTLE).fma(sums, sum0);
            sum1 = FloatVector.fromMemorySegment(Lanes.F32, rows, at + 4L * offsetGroups, LITTLE).fma(sums, sum1);
        }
        for (int column = 0; column < columns; column += LINE_COLUMNS) {
            IntVector first = IntVector.fromMemorySegment(Lanes.I32, rows, lineAt + column, LITTLE);
            IntVector second = first.lanewise(VectorOperators.LSHR, 16);
            FloatVector x0 = FloatVector.fromArray(Lanes.F32, x, xFrom + column);
            FloatVector x1 = FloatVector.fromArray(Lanes.F32, x, xFrom + column + LANES);
            FloatVector x2 = FloatVector.fromArray(Lanes.F32, x, xFrom + column + 2 * LANES);
            FloatVector x3 = FloatVector.fromArray(Lanes.F32, x, xFrom + column + 3 * LANES);
            FloatVector part0 = first.and(0xF).or(BIG_BITS).reinterpretAsFloats().sub(base0).mul(x0);
            FloatVector part1 = second.and(0xF).or(BIG_BITS).reinterpretAsFloats().sub(base0).mul(x0);
            part0 = first.and(0xF0).or(BIG_BITS).reinterpretAsFloats().sub(base1).fma(x1, part0);
            part1 = second.and(0xF0).or(BIG_BITS).reinterpretAsFloats().sub(base1).fma(x1, part1);
            part0 = first.and(0xF00).or(BIG_BITS).reinterpretAsFloats().sub(base2).fma(x2, part0);
            part1 = second.and(0xF00).or(BIG_BITS).reinterpretAsFloats().sub(base2).fma(x2, part1);
            part0 = first.and(0xF000).or(BIG_BITS).reinterpretAsFloats().sub(base3).fma(x3, part0);
            part1 = second.and(0xF000).or(BIG_BITS).reinterpretAsFloats().sub(base3).fma(x3, part1);
            long at = factorAt + column / 8;
            sum0 = part0.fma(FloatVector.broadcast(Lanes.F32, rows.get(Tensor.FLOAT, at)), sum0);
            sum1 = part1.fma(FloatVector.broadcast(Lanes.F32, rows.get(Tensor.FLOAT, at + 4)), sum1);
        }
        // The tree of Lanes.sum for both rows at once: the first in the low lanes, the second in the high lanes.
        FloatVector sum =
                sum0.add(sum0.rearrange(PairSum.BY_8))
                        .blend(sum1.add(sum1.rearrange(PairSum.BY_8)), PairSum.HIGH_LANES);
        sum = sum.add(sum.rearrange(PairSum.BY_4));
        sum = sum.add(sum.rearrange(PairSum.BY_2));
        sum = sum.add(sum.rearrange(PairSum.BY_1));
        y.set(Tensor.FLOAT, to, sum.lane(0));
        if (both) {
            y.set(Tensor.FLOAT, to + 4, sum.lane(PairSum.HIGH_LANE));
        }
    }

    /// Lays out some pairs of rows. Two threads that do it at once write the same values.
    private void makeReady(Layout made, int block) {
        MemorySegment rows = made.rows;
        byte[] first = new byte[inFeatures];
        byte[] second = new byte[inFeatures];
        float[] factor = new float[groups];
        float[] offset = new float[groups];
        for (int pair = block * READY_PAIRS; pair < Math.min(pairs(), (block + 1) * READY_PAIRS); pair++) {
            long at = (long) pair * pairBytes;
            source.read(2 * pair, first, factor, offset);
            writeGroups(rows, at, 0, first, factor, offset);
            source.read(Math.min(2 * pair + 1, outFeatures - 1), second, factor, offset);
            writeGroups(rows, at, 1, second, factor, offset);
            for (int column = 0; column < inFeatures; column += LINE_COLUMNS) {
                for (int lane = 0; lane < LANES; lane++) {
                    int from = column + lane;
                    int word =
                            first[from]
                                    | first[from + 16] << 4
                                    | first[from + 32] << 8
                                    | first[from + 48] << 12
                                    | second[from] << 16
                                    | second[from + 16] << 20
                                    | second[from + 32] << 24
                                    | second[from + 48] << 28;
                    rows.set(Tensor.INT, at + linesAt + column + 4L * lane, word);
                }
            }
        }
        made.ready.setRelease(block, 1);
    }

    /// Writes factors and offsets of a row.
    ///
    /// A group whose codes are all the same is its offset alone: what an expansion adds to a weight is zero exactly,
    /// not what two rounded sums leave of each other.
    private void writeGroups(MemorySegment rows, long at, int row, byte[] codes, float[] factor, float[] offset) {
        int perLine = LINE_COLUMNS / groupColumns;
        for (int group = 0; group < groups; group++) {
            int line = group / perLine;
            int of = (2 * line + row) * perLine + group % perLine;
            int from = group * groupColumns;
            boolean constant = offsets && isConstant(codes, from, from + groupColumns);
            rows.set(Tensor.FLOAT, at + factorsAt + 4L * of, constant ? 0 : factor[group]);
            if (offsets) {
                float code = constant ? codes[from] : center;
                rows.set(Tensor.FLOAT, at + 4L * (row * groups + group), Math.fma(code, factor[group], offset[group]));
            }
        }
    }

    private static boolean isConstant(byte[] codes, int from, int to) {
        return Arrays.mismatch(codes, from, to - 1, codes, from + 1, to) < 0;
    }

    private int paddedGroups() {
        return roundUp(groups, LANES);
    }

    private static int roundUp(int value, int step) {
        return (value + step - 1) / step * step;
    }
}
