package io.vectune.quant.lanes;

import static io.vectune.quant.lanes.PairSum.BY_1;
import static io.vectune.quant.lanes.PairSum.BY_2;
import static io.vectune.quant.lanes.PairSum.BY_4;
import static io.vectune.quant.lanes.PairSum.BY_8;
import static io.vectune.quant.lanes.PairSum.HIGH_LANE;
import static io.vectune.quant.lanes.PairSum.HIGH_LANES;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicIntegerArray;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import org.jspecify.annotations.Nullable;

/// The matrix-vector product of formats with a factor, perhaps an offset, for each group of columns: HQQ of 8, 6 and 5
/// bits, Q8_0, Q6_K, Q5_K, Q5_1 and Q5_0; and HQQ of fewer bits in groups too small for [PairedRows].
///
///     y[row] = sum_column x[column] * (factor[row, group] * code[row, column] + offset[row, group])
///            = sum_column x * factor * (code - center)  +  sum_group (offset + center * factor) * (sum of x over the group)
///
/// A code is a byte. Bytes are read where a format stores them so; else they are laid out, the offsets and factors of a
/// row before its codes, when a row is first multiplied: 5- and 6-bit codes in nibbles and loose bits cost several times
/// the operations, and blocks of 22 to 210 bytes cross cache lines and hide their scales (decision 0043).
///
/// As in [ByteRows], bytes are neither widened nor converted: masked where they stand in a word of four columns, put into
/// the fraction of 2^23 and centered by a subtraction, which is exact. The lanes of a cache line, 4 columns each, meet the
/// factors of their groups once a line. Rows go in pairs that share the loads of x.
///
/// Numerics  f32; a lane adds up its 4 columns of a line, the factor multiplies that; an order that depends on nothing
///           but the sizes
/// Memory    32 bits a factor and an offset, and the codes unless they are read where they are stored; off-heap, freed
///           with this object
/// Requires  512-bit vectors, inFeatures a multiple of 64, groups as [#supports] says
public final class GroupedByteRows implements FusedRows {
    private static final int FEW_TOKENS = 2;

    private static final int LANES = 16;
    private static final int LINE_BYTES = 64;
    private static final int LINE_COLUMNS = 64;
    private static final int LANE_COLUMNS = LINE_COLUMNS / LANES;
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final float BYTE_STEP = 0x1p-8f;

    /// 2^23, whose unit in the last place is 1.
    private static final float BIG = 0x1p23f;

    private static final int BIG_BITS = Float.floatToRawIntBits(BIG);

    /// Pairs of rows made ready together.
    private static final int READY_PAIRS = 8;

    /// Bytes behind the last row that a vector of factors may be read from.
    private static final int PADDING = LINE_BYTES;

    private final RowSource source;
    private final int center;
    private final int outFeatures;
    private final int inFeatures;
    private final @Nullable MemorySegment storedCodes;
    private final int groups;
    private final int offsets;
    private final int groupsOfLine;
    private final int[] groupOfLane = new int[LANES];
    private final long codesFrom;
    private final long codesStride;
    private final long metaStride;
    private @Nullable Layout layout;

    /// What the kernel reads, made when it is first needed.
    ///
    /// @param codes of all rows
    /// @param meta offsets and factors of all rows; the same memory as `codes` where codes are laid out
    /// @param ready 1 for parts of [#READY_PAIRS] that are laid out
    private record Layout(MemorySegment codes, MemorySegment meta, AtomicIntegerArray ready) {}

    /// @param groupColumns columns that share factor and offset
    /// @param center the middle of the codes
    /// @param withOffsets false if the offset is -center * factor in all groups
    /// @param storedCodes a byte a code, all rows without gaps; null to lay codes out from `source`
    public GroupedByteRows(
            int outFeatures,
            int inFeatures,
            int groupColumns,
            int center,
            boolean withOffsets,
            @Nullable MemorySegment storedCodes,
            RowSource source) {
        if (!supports(inFeatures, groupColumns)) {
            throw new IllegalArgumentException(
                    "inFeatures " + inFeatures + " in groups of " + groupColumns + ": not supported");
        }
        this.source = source;
        this.center = center;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.storedCodes = storedCodes;
        int columns = Math.min(groupColumns, LINE_COLUMNS);
        this.groups = inFeatures / columns;
        this.groupsOfLine = LINE_COLUMNS / columns;
        for (int lane = 0; lane < LANES; lane++) {
            groupOfLane[lane] = lane * LANE_COLUMNS / columns;
        }
        this.offsets = withOffsets ? (groups + LANES - 1) / LANES * LANES : 0;
        this.codesFrom = storedCodes == null ? 4L * (offsets + groups) : 0;
        this.codesStride = codesFrom + inFeatures;
        this.metaStride = storedCodes == null ? codesStride : 4L * (offsets + groups);
    }

    /// Whether this machine and these sizes suit the kernel: groups of at least 4 columns that divide 64, or that 64
    /// divides.
    public static boolean supports(int inFeatures, int groupColumns) {
        if (Lanes.COUNT != LANES || inFeatures <= 0 || inFeatures % LINE_COLUMNS != 0) {
            return false;
        }
        boolean wholeLines = groupColumns % LINE_COLUMNS == 0 && inFeatures % groupColumns == 0;
        boolean wholeLanes = groupColumns >= LANE_COLUMNS && LINE_COLUMNS % groupColumns == 0;
        return wholeLines || wholeLanes;
    }

    @Override
    public int fewTokens() {
        return FEW_TOKENS;
    }

    /// x in the order of the bytes, and its sums over groups.
    @Override
    public int preparedLength() {
        return inFeatures + offsets;
    }

    @Override
    public void prepare(MemorySegment x, long offset, float[] prepared, int at) {
        arrange(x, offset, inFeatures, prepared, at);
        int columns = inFeatures / groups;
        for (int group = 0; group < offsets; group++) {
            float even = 0;
            float odd = 0;
            if (group < groups) {
                long from = offset + 4L * columns * group;
                for (int i = 0; i < columns; i += 2) {
                    even += x.get(Tensor.FLOAT, from + 4L * i);
                    odd += x.get(Tensor.FLOAT, from + 4L * i + 4);
                }
            }
            prepared[at + inFeatures + group] = even + odd;
        }
    }

    /// Orders `columns` f32 numbers of x from byte `offset`: of each line, byte 0 of all lanes, then byte 1 times 2^-8,
    /// byte 2, byte 3 times 2^-8.
    ///
    /// @param columns a multiple of [#LINE_COLUMNS]
    private static void arrange(MemorySegment x, long offset, int columns, float[] to, int at) {
        for (int line = 0; line < columns; line += LINE_COLUMNS) {
            for (int lane = 0; lane < LINE_COLUMNS / 4; lane++) {
                long column = offset + 4L * (line + 4 * lane);
                int target = at + line + lane;
                to[target] = x.get(Tensor.FLOAT, column);
                to[target + LINE_COLUMNS / 4] = x.get(Tensor.FLOAT, column + 4) * BYTE_STEP;
                to[target + LINE_COLUMNS / 2] = x.get(Tensor.FLOAT, column + 8);
                to[target + 3 * LINE_COLUMNS / 4] = x.get(Tensor.FLOAT, column + 12) * BYTE_STEP;
            }
        }
    }

    @Override
    public int pairs() {
        return (outFeatures + 1) / 2;
    }

    @Override
    public synchronized long bytes() {
        return layout == null ? 0 : layout.meta.byteSize();
    }

    private synchronized Layout layout() {
        if (layout == null) {
            MemorySegment meta = Arena.ofAuto().allocate(outFeatures * metaStride + PADDING, LINE_BYTES);
            AtomicIntegerArray ready = new AtomicIntegerArray((pairs() + READY_PAIRS - 1) / READY_PAIRS);
            layout = new Layout(storedCodes == null ? meta : storedCodes, meta, ready);
        }
        return layout;
    }

    @Override
    public void multiply(float[] prepared, int tokens, Matrix y, int from, int to) {
        Layout rows = layout();
        int block = (int) Math.max(1, ReadAhead.BYTES / (2 * codesStride));
        boolean ahead = true;
        for (int first = from; first < to; first += block) {
            int end = Math.min(first + block, to);
            for (int part = first / READY_PAIRS; part <= (end - 1) / READY_PAIRS; part++) {
                if (rows.ready.getAcquire(part) == 0) {
                    makeReady(rows, part);
                }
            }
            long row = 2L * first;
            long count = Math.min(2L * end, outFeatures) - row;
            if ((first - from) / block % ReadAhead.SAMPLED == 0) {
                ahead = ReadAhead.fromMemory(rows.codes, row * codesStride, count * codesStride);
            } else if (ahead) {
                ReadAhead.read(rows.codes, row * codesStride, count * codesStride);
                if (storedCodes != null) {
                    ReadAhead.read(rows.meta, row * metaStride, count * metaStride);
                }
            }
            for (int pair = first; pair < end; pair++) {
                boolean both = 2 * pair + 1 < outFeatures;
                long firstCodes = 2L * pair * codesStride + codesFrom;
                long firstMeta = 2L * pair * metaStride;
                for (int token = 0; token < tokens; token++) {
                    multiplyPair(
                            center,
                            rows.codes,
                            firstCodes,
                            both ? firstCodes + codesStride : firstCodes,
                            rows.meta,
                            firstMeta,
                            both ? firstMeta + metaStride : firstMeta,
                            offsets,
                            groupOfLane,
                            groupsOfLine,
                            inFeatures / LINE_COLUMNS,
                            prepared,
                            token * preparedLength(),
                            y.segment(),
                            y.rowOffset(token) + 8L * pair,
                            both);
                }
            }
        }
    }

    /// y = sum_column factor * (code - center) * x + sum_group offset * (sum of x over the group), for two rows.
    ///
    /// Longer than 325 bytecodes on purpose: C2 does not inline it into the loop over rows, where it ran at half the
    /// speed.
    ///
    /// @param center the code that means 0
    /// @param first byte of the first row's codes, `second` of the second's
    /// @param firstMeta byte of the first row's offsets and the factors behind them, `secondMeta` of the second's
    /// @param offsets how many, a multiple of the lanes; 0 if there are none
    /// @param groupOfLane which of the factors from line * groupsOfLine on a lane takes
    /// @param x from `xFrom` on as [#arrange] orders it, behind it the sums over groups
    /// @param y f32, to byte `to` and the next
    /// @param both whether the second row is wanted
    private static void multiplyPair(
            int center,
            MemorySegment codes,
            long first,
            long second,
            MemorySegment meta,
            long firstMeta,
            long secondMeta,
            int offsets,
            int[] groupOfLane,
            int groupsOfLine,
            int lines,
            float[] x,
            int xFrom,
            MemorySegment y,
            long to,
            boolean both) {
        IntVector groups = IntVector.fromArray(Lanes.I32, groupOfLane, 0);
        FloatVector total0 = FloatVector.zero(Lanes.F32);
        FloatVector total1 = FloatVector.zero(Lanes.F32);
        int sumsFrom = xFrom + LINE_COLUMNS * lines;
        for (int group = 0; group < offsets; group += LANES) {
            FloatVector sums = FloatVector.fromArray(Lanes.F32, x, sumsFrom + group);
            long at = 4L * group;
            total0 = FloatVector.fromMemorySegment(Lanes.F32, meta, firstMeta + at, LITTLE).fma(sums, total0);
            total1 = FloatVector.fromMemorySegment(Lanes.F32, meta, secondMeta + at, LITTLE).fma(sums, total1);
        }
        float evenBase = BIG + center;
        float oddBase = BIG + (center << 8);
        long firstFactors = firstMeta + 4L * offsets;
        long secondFactors = secondMeta + 4L * offsets;
        for (int line = 0; line < lines; line++) {
            int from = xFrom + LINE_COLUMNS * line;
            IntVector words0 = IntVector.fromMemorySegment(Lanes.I32, codes, first + 64L * line, LITTLE);
            IntVector words1 = IntVector.fromMemorySegment(Lanes.I32, codes, second + 64L * line, LITTLE);
            FloatVector x0 = FloatVector.fromArray(Lanes.F32, x, from);
            FloatVector x1 = FloatVector.fromArray(Lanes.F32, x, from + LANES);
            FloatVector x2 = FloatVector.fromArray(Lanes.F32, x, from + 2 * LANES);
            FloatVector x3 = FloatVector.fromArray(Lanes.F32, x, from + 3 * LANES);
            FloatVector even0 = words0.and(0xFF).or(BIG_BITS).reinterpretAsFloats().sub(evenBase).mul(x0);
            FloatVector even1 = words1.and(0xFF).or(BIG_BITS).reinterpretAsFloats().sub(evenBase).mul(x0);
            FloatVector odd0 = words0.and(0xFF00).or(BIG_BITS).reinterpretAsFloats().sub(oddBase).mul(x1);
            FloatVector odd1 = words1.and(0xFF00).or(BIG_BITS).reinterpretAsFloats().sub(oddBase).mul(x1);
            words0 = words0.lanewise(VectorOperators.LSHR, 16);
            words1 = words1.lanewise(VectorOperators.LSHR, 16);
            even0 = words0.and(0xFF).or(BIG_BITS).reinterpretAsFloats().sub(evenBase).fma(x2, even0);
            even1 = words1.and(0xFF).or(BIG_BITS).reinterpretAsFloats().sub(evenBase).fma(x2, even1);
            odd0 = words0.and(0xFF00).or(BIG_BITS).reinterpretAsFloats().sub(oddBase).fma(x3, odd0);
            odd1 = words1.and(0xFF00).or(BIG_BITS).reinterpretAsFloats().sub(oddBase).fma(x3, odd1);
            long group = 4L * groupsOfLine * line;
            IntVector factor0 =
                    FloatVector.fromMemorySegment(Lanes.F32, meta, firstFactors + group, LITTLE).reinterpretAsInts();
            IntVector factor1 =
                    FloatVector.fromMemorySegment(Lanes.F32, meta, secondFactors + group, LITTLE).reinterpretAsInts();
            total0 = even0.add(odd0).fma(groups.selectFrom(factor0).reinterpretAsFloats(), total0);
            total1 = even1.add(odd1).fma(groups.selectFrom(factor1).reinterpretAsFloats(), total1);
        }
        // The tree of Lanes.sum for both rows at once: the first in the low lanes, the second in the high lanes.
        total0 = total0.add(total0.rearrange(BY_8));
        total1 = total1.add(total1.rearrange(BY_8));
        FloatVector sum = total0.blend(total1, HIGH_LANES);
        sum = sum.add(sum.rearrange(BY_4));
        sum = sum.add(sum.rearrange(BY_2));
        sum = sum.add(sum.rearrange(BY_1));
        y.set(Tensor.FLOAT, to, sum.lane(0));
        if (both) {
            y.set(Tensor.FLOAT, to + 4, sum.lane(HIGH_LANE));
        }
    }

    /// Lays out some pairs of rows. Two threads that do it at once write the same values.
    private void makeReady(Layout rows, int part) {
        byte[] row = new byte[storedCodes == null ? inFeatures : 0];
        float[] factor = new float[groups];
        float[] offset = new float[groups];
        int end = Math.min(outFeatures, 2 * READY_PAIRS * (part + 1));
        for (int index = 2 * READY_PAIRS * part; index < end; index++) {
            source.read(index, row, factor, offset);
            long at = index * metaStride;
            for (int group = 0; group < Math.min(groups, offsets); group++) {
                float centered = Math.fma((float) center, factor[group], offset[group]);
                rows.meta.set(Tensor.FLOAT, at + 4L * group, centered);
            }
            MemorySegment.copy(factor, 0, rows.meta, Tensor.FLOAT, at + 4L * offsets, groups);
            MemorySegment.copy(row, 0, rows.codes, Tensor.BYTE, index * codesStride + codesFrom, row.length);
        }
        rows.ready.setRelease(part, 1);
    }
}
