package io.vectune.quant.lanes;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;

/// The product of rows of signed bytes with x. Two rows at a time, which share the loads of x.
///
///     y = scale * sum_column code[column] * x[column]
///
/// Bytes are neither widened nor converted. A vector of 32-bit words holds four columns a lane, and x comes in that
/// order ([#arrange]). The bits of a code stay where they are and become the low bits of the fraction of a float:
///
///     (word & mask) | bits of 2^23  =  2^23 + code * 2^place      exact for place + width <= 23
///
/// so that a logical operation, a subtraction and a multiply-add decode and multiply a vector of codes. The two upper
/// bytes are moved down by 16 bits first. What is left of the place, a power of two, is in x for byte 1 and 3: exact.
///
/// The kernel is long on purpose: C2 does not inline methods above 325 bytecodes, and inlined into the loop over rows it
/// runs at half the speed.
///
/// Numerics  f32 multiply-adds; lane l sums columns 4 l .. 4 l + 3 of each [#COLUMNS], in a fixed order
public final class ByteRows {
    /// Columns of one vector of words: what the columns of a row must be a multiple of.
    public static final int COLUMNS = 4 * Lanes.COUNT;

    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final int COUNT = Lanes.COUNT;
    private static final float BYTE_STEP = 0x1p-8f;

    /// 2^23, whose unit in the last place is 1.
    private static final float BIG = 0x1p23f;

    private static final int BIG_BITS = Float.floatToRawIntBits(BIG);

    private static final VectorShuffle<Float> BY_HALF = exchange(COUNT / 2);
    private static final VectorShuffle<Float> BY_4 = exchange(4);
    private static final VectorShuffle<Float> BY_2 = exchange(2);
    private static final VectorShuffle<Float> BY_1 = exchange(1);
    private static final VectorMask<Float> HIGH_HALF =
            FloatVector.zero(Lanes.F32).addIndex(1).compare(VectorOperators.GE, COUNT / 2f);

    private ByteRows() {}

    /// Orders `count` f32 numbers of x from byte `offset`: of each [#COLUMNS], byte 0 of all lanes, then byte 1 times
    /// 2^-8, byte 2, byte 3 times 2^-8.
    ///
    /// @param count a multiple of [#COLUMNS]
    public static void arrange(MemorySegment x, long offset, int count, float[] to, int at) {
        for (int block = 0; block < count; block += COLUMNS) {
            for (int lane = 0; lane < COUNT; lane++) {
                long column = offset + 4L * (block + 4 * lane);
                int target = at + block + lane;
                to[target] = x.get(Tensor.FLOAT, column);
                to[target + COUNT] = x.get(Tensor.FLOAT, column + 4) * BYTE_STEP;
                to[target + 2 * COUNT] = x.get(Tensor.FLOAT, column + 8);
                to[target + 3 * COUNT] = x.get(Tensor.FLOAT, column + 12) * BYTE_STEP;
            }
        }
    }

    /// Two rows of signed bytes: y = scale * sum code * x.
    ///
    /// @param first the byte of the first row's first code
    /// @param columns a multiple of [#COLUMNS]
    /// @param x as [#arrange] orders it
    /// @param y f32, to byte `toFirst` and `toSecond`
    public static void signed(
            MemorySegment codes,
            long first,
            long second,
            int columns,
            float[] x,
            int xFrom,
            MemorySegment y,
            long toFirst,
            float firstScale,
            long toSecond,
            float secondScale) {
        FloatVector even0 = FloatVector.zero(Lanes.F32);
        FloatVector even1 = FloatVector.zero(Lanes.F32);
        FloatVector odd0 = FloatVector.zero(Lanes.F32);
        FloatVector odd1 = FloatVector.zero(Lanes.F32);
        // The flipped sign bit makes code + 128 of a signed code.
        int even = BIG_BITS | 0x80;
        int odd = BIG_BITS | 0x8000;
        float evenBase = BIG + 0x80;
        float oddBase = BIG + 0x8000;
        for (int i = 0; i < columns; i += COLUMNS) {
            IntVector words0 = IntVector.fromMemorySegment(Lanes.I32, codes, first + i, LITTLE);
            IntVector words1 = IntVector.fromMemorySegment(Lanes.I32, codes, second + i, LITTLE);
            IntVector upper0 = words0.lanewise(VectorOperators.LSHR, 16);
            IntVector upper1 = words1.lanewise(VectorOperators.LSHR, 16);
            FloatVector x0 = FloatVector.fromArray(Lanes.F32, x, xFrom + i);
            FloatVector x1 = FloatVector.fromArray(Lanes.F32, x, xFrom + i + COUNT);
            FloatVector x2 = FloatVector.fromArray(Lanes.F32, x, xFrom + i + 2 * COUNT);
            FloatVector x3 = FloatVector.fromArray(Lanes.F32, x, xFrom + i + 3 * COUNT);
            IntVector code0 = words0.and(0xFF).lanewise(VectorOperators.XOR, even);
            IntVector code1 = words1.and(0xFF).lanewise(VectorOperators.XOR, even);
            even0 = code0.reinterpretAsFloats().sub(evenBase).fma(x0, even0);
            even1 = code1.reinterpretAsFloats().sub(evenBase).fma(x0, even1);
            code0 = words0.and(0xFF00).lanewise(VectorOperators.XOR, odd);
            code1 = words1.and(0xFF00).lanewise(VectorOperators.XOR, odd);
            odd0 = code0.reinterpretAsFloats().sub(oddBase).fma(x1, odd0);
            odd1 = code1.reinterpretAsFloats().sub(oddBase).fma(x1, odd1);
            code0 = upper0.and(0xFF).lanewise(VectorOperators.XOR, even);
            code1 = upper1.and(0xFF).lanewise(VectorOperators.XOR, even);
            even0 = code0.reinterpretAsFloats().sub(evenBase).fma(x2, even0);
            even1 = code1.reinterpretAsFloats().sub(evenBase).fma(x2, even1);
            code0 = upper0.and(0xFF00).lanewise(VectorOperators.XOR, odd);
            code1 = upper1.and(0xFF00).lanewise(VectorOperators.XOR, odd);
            odd0 = code0.reinterpretAsFloats().sub(oddBase).fma(x3, odd0);
            odd1 = code1.reinterpretAsFloats().sub(oddBase).fma(x3, odd1);
        }
        FloatVector sum0 = even0.add(odd0);
        FloatVector sum1 = even1.add(odd1);
        sum0 = sum0.add(sum0.rearrange(BY_HALF));
        sum1 = sum1.add(sum1.rearrange(BY_HALF));
        FloatVector sum = sum0.blend(sum1, HIGH_HALF);
        if (COUNT == 16) {
            sum = sum.add(sum.rearrange(BY_4));
        }
        if (COUNT >= 8) {
            sum = sum.add(sum.rearrange(BY_2));
        }
        sum = sum.add(sum.rearrange(BY_1));
        y.set(Tensor.FLOAT, toFirst, sum.lane(0) * firstScale);
        y.set(Tensor.FLOAT, toSecond, sum.lane(COUNT / 2) * secondScale);
    }

    private static VectorShuffle<Float> exchange(int distance) {
        return VectorShuffle.fromOp(Lanes.F32, lane -> (lane ^ distance) % COUNT);
    }
}
