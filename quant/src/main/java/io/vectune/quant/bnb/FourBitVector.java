package io.vectune.quant.bnb;

import static io.vectune.quant.lanes.Lanes.COUNT;
import static io.vectune.quant.lanes.Lanes.F32;
import static io.vectune.quant.lanes.Lanes.I32;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;

/// The vector tier.
///
/// Decoding keeps the order of the columns: each byte is spread to two lanes, shifted by 4 and 0, looked up. The fused
/// product changes the order of x instead, once a call, so that a vector of 32-bit words needs one shift and one lookup
/// for every [Lanes#COUNT] weights:
///
///     a word vector at column c holds columns c + 8 lane + n, n = 0..7; code n lies at bit 4 (n ^ 1)
///     prepared x, for s = 0..7 and each lane: x[c + 8 lane + (s ^ 1)]
///
/// Columns behind the last whole word vector go by byte vectors: first the even columns (high nibbles), then the odd.
/// Requires  inFeatures % 32 == 0 for the product; block sizes are multiples of 32, so that no part crosses a block
final class FourBitVector implements FourBitKernels {
    private static final int WORD_COLUMNS = 8 * COUNT;
    private static final int PAIR_COLUMNS = 2 * COUNT;
    private static final int FEW_TOKENS = 2;
    private static final float LEAST_ABSMAX = 1e-38f;

    private static final VectorShuffle<Integer> FIRST_PAIRS = VectorShuffle.fromOp(I32, lane -> lane / 2);
    private static final VectorShuffle<Integer> LAST_PAIRS = VectorShuffle.fromOp(I32, lane -> COUNT / 2 + lane / 2);
    private static final IntVector NIBBLE_SHIFTS =
            IntVector.zero(I32).addIndex(4).and(4).lanewise(VectorOperators.XOR, 4);
    private static final VectorMask<Float> SECOND_HALF =
            FloatVector.zero(F32).addIndex(1).compare(VectorOperators.GE, COUNT / 2f);
    private static final VectorMask<Float> SECOND_QUARTERS =
            IntVector.zero(I32).addIndex(1).and(Math.max(COUNT / 4, 1)).compare(VectorOperators.NE, 0).cast(F32);

    @Override
    public void decode(FourBitWeight weight, long element, int count, float[] tile, int tileOffset) {
        MemorySegment packed = weight.packed();
        int[] codebook = weight.codebook().bits();
        int blockShift = weight.blockShift();
        IntVector table0 = IntVector.fromArray(I32, codebook, 0);
        IntVector table1 = IntVector.fromArray(I32, codebook, COUNT % 16);
        IntVector table2 = IntVector.fromArray(I32, codebook, COUNT == 4 ? 8 : 0);
        IntVector table3 = IntVector.fromArray(I32, codebook, COUNT == 4 ? 12 : 0);
        long at = element;
        long end = element + count;
        int to = tileOffset;
        while (at < end) {
            long block = at >> blockShift;
            long runEnd = Math.min(end, (block + 1) << blockShift);
            float scale = weight.absmax().at(block);
            FloatVector scales = FloatVector.broadcast(F32, scale);
            if ((at & 1) != 0) {
                tile[to++] = Float.intBitsToFloat(codebook[packed.get(Tensor.BYTE, at++ / 2) & 15]) * scale;
            }
            for (; at + PAIR_COLUMNS <= runEnd; at += PAIR_COLUMNS) {
                IntVector pairs = Lanes.unsignedBytes(packed, at / 2);
                IntVector first = pairs.rearrange(FIRST_PAIRS).lanewise(VectorOperators.LSHR, NIBBLE_SHIFTS);
                IntVector last = pairs.rearrange(LAST_PAIRS).lanewise(VectorOperators.LSHR, NIBBLE_SHIFTS);
                Lanes.lookup(first, table0, table1, table2, table3).mul(scales).intoArray(tile, to);
                Lanes.lookup(last, table0, table1, table2, table3).mul(scales).intoArray(tile, to + COUNT);
                to += PAIR_COLUMNS;
            }
            for (; at < runEnd; at++) {
                int pair = packed.get(Tensor.BYTE, at / 2);
                int code = (at & 1) == 0 ? pair >>> 4 & 15 : pair & 15;
                tile[to++] = Float.intBitsToFloat(codebook[code]) * scale;
            }
        }
    }

    @Override
    public int fewTokens(int inFeatures) {
        return inFeatures % 32 == 0 ? FEW_TOKENS : 0;
    }

    @Override
    public void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int preparedOffset) {
        int column = 0;
        int to = preparedOffset;
        for (; column + WORD_COLUMNS <= inFeatures; column += WORD_COLUMNS) {
            for (int s = 0; s < 8; s++) {
                for (int lane = 0; lane < COUNT; lane++) {
                    prepared[to++] = x.get(Tensor.FLOAT, offset + 4L * (column + 8 * lane + (s ^ 1)));
                }
            }
        }
        for (; column + PAIR_COLUMNS <= inFeatures; column += PAIR_COLUMNS) {
            for (int s = 0; s < 2; s++) {
                for (int lane = 0; lane < COUNT; lane++) {
                    prepared[to++] = x.get(Tensor.FLOAT, offset + 4L * (column + 2 * lane + s));
                }
            }
        }
    }

    @Override
    public void multiply(
            FourBitWeight weight, int rowFrom, int rowTo, float[] prepared, int from, MemorySegment y, long yOffset) {
        int row = rowFrom;
        if (weight.inFeatures() % (WORD_COLUMNS / 2) == 0 && weight.config().blockSize() >= WORD_COLUMNS / 2) {
            for (; row + 2 <= rowTo; row += 2) {
                dotPair(weight, row, prepared, from, y, yOffset + 4L * (row - rowFrom));
            }
        }
        for (; row < rowTo; row++) {
            y.set(Tensor.FLOAT, yOffset + 4L * (row - rowFrom), dot(weight, row, prepared, from));
        }
    }

    /// Two rows that follow each other: x is loaded once for both.
    private static void dotPair(FourBitWeight weight, int row, float[] x, int from, MemorySegment y, long yOffset) {
        MemorySegment packed = weight.packed();
        BlockAbsmax absmax = weight.absmax();
        int blockShift = weight.blockShift();
        int inFeatures = weight.inFeatures();
        int[] codebook = weight.codebook().bits();
        IntVector table0 = IntVector.fromArray(I32, codebook, 0);
        IntVector table1 = IntVector.fromArray(I32, codebook, COUNT % 16);
        IntVector table2 = IntVector.fromArray(I32, codebook, COUNT == 4 ? 8 : 0);
        IntVector table3 = IntVector.fromArray(I32, codebook, COUNT == 4 ? 12 : 0);
        long element = (long) row * inFeatures;
        long next = element + inFeatures;
        FloatVector sum = FloatVector.zero(F32);
        FloatVector nextSum = FloatVector.zero(F32);
        int column = 0;
        for (; column + WORD_COLUMNS <= inFeatures; column += WORD_COLUMNS) {
            int to = from + column;
            IntVector words = IntVector.fromMemorySegment(I32, packed, (element + column) / 2, ByteOrder.LITTLE_ENDIAN);
            IntVector nextWords =
                    IntVector.fromMemorySegment(I32, packed, (next + column) / 2, ByteOrder.LITTLE_ENDIAN);
            FloatVector part = FloatVector.zero(F32);
            FloatVector nextPart = FloatVector.zero(F32);
            for (int s = 0; s < 8; s++) {
                FloatVector values = FloatVector.fromArray(F32, x, to + s * COUNT);
                part =
                        Lanes.lookup(words.lanewise(VectorOperators.LSHR, 4 * s), table0, table1, table2, table3)
                                .fma(values, part);
                nextPart =
                        Lanes.lookup(nextWords.lanewise(VectorOperators.LSHR, 4 * s), table0, table1, table2, table3)
                                .fma(values, nextPart);
            }
            sum = part.fma(halves(absmax, element + column, blockShift), sum);
            nextSum = nextPart.fma(halves(absmax, next + column, blockShift), nextSum);
        }
        for (; column < inFeatures; column += PAIR_COLUMNS) {
            FloatVector high = FloatVector.fromArray(F32, x, from + column);
            FloatVector low = FloatVector.fromArray(F32, x, from + column + COUNT);
            IntVector pairs = Lanes.unsignedBytes(packed, (element + column) / 2);
            IntVector nextPairs = Lanes.unsignedBytes(packed, (next + column) / 2);
            FloatVector part =
                    Lanes.lookup(pairs.lanewise(VectorOperators.LSHR, 4), table0, table1, table2, table3).mul(high);
            FloatVector nextPart =
                    Lanes.lookup(nextPairs.lanewise(VectorOperators.LSHR, 4), table0, table1, table2, table3).mul(high);
            part = Lanes.lookup(pairs, table0, table1, table2, table3).fma(low, part);
            nextPart = Lanes.lookup(nextPairs, table0, table1, table2, table3).fma(low, nextPart);
            sum = part.fma(FloatVector.broadcast(F32, absmax.at((element + column) >> blockShift)), sum);
            nextSum = nextPart.fma(FloatVector.broadcast(F32, absmax.at((next + column) >> blockShift)), nextSum);
        }
        y.set(Tensor.FLOAT, yOffset, Lanes.sum(sum));
        y.set(Tensor.FLOAT, yOffset + 4, Lanes.sum(nextSum));
    }

    private static float dot(FourBitWeight weight, int row, float[] x, int from) {
        MemorySegment packed = weight.packed();
        BlockAbsmax absmax = weight.absmax();
        int blockShift = weight.blockShift();
        int inFeatures = weight.inFeatures();
        int[] codebook = weight.codebook().bits();
        IntVector table0 = IntVector.fromArray(I32, codebook, 0);
        IntVector table1 = IntVector.fromArray(I32, codebook, COUNT % 16);
        IntVector table2 = IntVector.fromArray(I32, codebook, COUNT == 4 ? 8 : 0);
        IntVector table3 = IntVector.fromArray(I32, codebook, COUNT == 4 ? 12 : 0);
        long element = (long) row * inFeatures;
        FloatVector sum = FloatVector.zero(F32);
        int column = 0;
        for (; column + WORD_COLUMNS <= inFeatures; column += WORD_COLUMNS) {
            long at = element + column;
            IntVector words = IntVector.fromMemorySegment(I32, packed, at / 2, ByteOrder.LITTLE_ENDIAN);
            FloatVector part = FloatVector.zero(F32);
            for (int s = 0; s < 8; s++) {
                part =
                        Lanes.lookup(words.lanewise(VectorOperators.LSHR, 4 * s), table0, table1, table2, table3)
                                .fma(FloatVector.fromArray(F32, x, from + column + s * COUNT), part);
            }
            sum = part.fma(quarters(absmax, at, blockShift), sum);
        }
        for (; column < inFeatures; column += PAIR_COLUMNS) {
            long at = element + column;
            int to = from + column;
            IntVector pairs = Lanes.unsignedBytes(packed, at / 2);
            FloatVector part =
                    Lanes.lookup(pairs.lanewise(VectorOperators.LSHR, 4), table0, table1, table2, table3)
                            .mul(FloatVector.fromArray(F32, x, to));
            part =
                    Lanes.lookup(pairs, table0, table1, table2, table3)
                            .fma(FloatVector.fromArray(F32, x, to + COUNT), part);
            sum = part.fma(FloatVector.broadcast(F32, absmax.at(at >> blockShift)), sum);
        }
        return Lanes.sum(sum);
    }

    /// The absmax of each lane's eight columns of the word vector at `element`, where blocks begin at halves of it.
    private static FloatVector halves(BlockAbsmax absmax, long element, int blockShift) {
        FloatVector first = FloatVector.broadcast(F32, absmax.at(element >> blockShift));
        FloatVector second = FloatVector.broadcast(F32, absmax.at((element + WORD_COLUMNS / 2) >> blockShift));
        return first.blend(second, SECOND_HALF);
    }

    /// The same where blocks begin at quarters of it.
    private static FloatVector quarters(BlockAbsmax absmax, long element, int blockShift) {
        int quarter = WORD_COLUMNS / 4;
        FloatVector first = FloatVector.broadcast(F32, absmax.at(element >> blockShift));
        FloatVector second = FloatVector.broadcast(F32, absmax.at((element + quarter) >> blockShift));
        FloatVector third = FloatVector.broadcast(F32, absmax.at((element + 2L * quarter) >> blockShift));
        FloatVector fourth = FloatVector.broadcast(F32, absmax.at((element + 3L * quarter) >> blockShift));
        return first.blend(second, SECOND_QUARTERS).blend(third.blend(fourth, SECOND_QUARTERS), SECOND_HALF);
    }

    @Override
    public float absmax(float[] values, int from, int to) {
        FloatVector largest = FloatVector.zero(F32);
        int i = from;
        for (; i + COUNT <= to; i += COUNT) {
            largest = largest.max(FloatVector.fromArray(F32, values, i).abs());
        }
        float absmax = largest.reduceLanes(VectorOperators.MAX);
        for (; i < to; i++) {
            absmax = Math.max(absmax, Math.abs(values[i]));
        }
        return absmax;
    }

    @Override
    public void codes(Codebook codebook, float[] values, int from, int to, float absmax, boolean full, byte[] codes) {
        float divisor = Math.max(absmax, LEAST_ABSMAX);
        FloatVector divisors = FloatVector.broadcast(F32, divisor);
        FloatVector inverses = FloatVector.broadcast(F32, 1f / divisor);
        float[] midpoints = codebook.midpoints();
        int[] ascending = codebook.ascending();
        IntVector order0 = IntVector.fromArray(I32, ascending, 0);
        IntVector order1 = IntVector.fromArray(I32, ascending, COUNT % 16);
        IntVector order2 = IntVector.fromArray(I32, ascending, COUNT == 4 ? 8 : 0);
        IntVector order3 = IntVector.fromArray(I32, ascending, COUNT == 4 ? 12 : 0);
        int i = from;
        for (; i + COUNT <= to; i += COUNT) {
            FloatVector value = FloatVector.fromArray(F32, values, i);
            FloatVector scaled = full ? value.mul(inverses) : value.div(divisors);
            IntVector rank = IntVector.zero(I32);
            for (int k = 0; k < 15; k++) {
                rank = rank.add(1, scaled.compare(VectorOperators.GT, midpoints[k]).cast(I32));
            }
            Lanes.storeBytes(Lanes.lookupInts(rank, order0, order1, order2, order3), codes, i);
        }
        for (; i < to; i++) {
            float scaled = full ? values[i] * (1f / divisor) : values[i] / divisor;
            codes[i] = (byte) codebook.code(Math.clamp(scaled, -1f, 1f));
        }
    }
}
