package io.vectune.quant.lanes;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;

/// The product of a row of codes, one a byte at a fixed place of the byte, with x: whole bytes, or the slots of bytes
/// that hold the codes of several rows.
///
///     sum_column (code[column] - center) * x[column]        in whole, or with a scale for each group of columns
///
/// Bytes are neither widened nor converted. A vector of 32-bit words holds four columns a lane, and x comes in that
/// order ([#arrange]). The bits of a code stay where they are and become the low bits of the fraction of a float:
///
///     (word & mask) ^ bits of 2^23  =  2^23 + code * 2^place      exact for place + width <= 23
///
/// so that a logical operation, a subtraction and a multiply-add decode and multiply a vector of codes. The two upper
/// bytes are moved down by 16 bits first. What is left of the place, a power of two, is in x for byte 1 and 3 and in
/// the result for the slot: both exact.
///
/// Numerics  f32 multiply-adds; lane l sums columns 4 l .. 4 l + 3 of each [#COLUMNS], in a fixed order
public final class ByteRows {
    /// Columns of one vector of words: what the columns of a row and of a group must be multiples of.
    public static final int COLUMNS = 4 * Lanes.COUNT;

    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final int COUNT = Lanes.COUNT;
    private static final float BYTE_STEP = 0x1p-8f;

    /// 2^23, whose unit in the last place is 1.
    private static final float BIG = 0x1p23f;

    private static final int BIG_BITS = Float.floatToRawIntBits(BIG);

    private ByteRows() {}

    /// Orders `count` numbers of x: of each [#COLUMNS], byte 0 of all lanes, then byte 1 times 2^-8, byte 2, byte 3
    /// times 2^-8.
    ///
    /// @param count a multiple of [#COLUMNS]
    public static void arrange(float[] values, int from, int count, float[] to, int at) {
        for (int block = 0; block < count; block += COLUMNS) {
            for (int lane = 0; lane < COUNT; lane++) {
                int column = from + block + 4 * lane;
                int target = at + block + lane;
                to[target] = values[column];
                to[target + COUNT] = values[column + 1] * BYTE_STEP;
                to[target + 2 * COUNT] = values[column + 2];
                to[target + 3 * COUNT] = values[column + 3] * BYTE_STEP;
            }
        }
    }

    /// Orders `count` f32 numbers from byte `offset`, as [#arrange(float[], int, int, float[], int)].
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

    /// sum_g scale[g] * sum (code - center) * x, for unsigned codes of `width` bits from bit `place` of each byte.
    ///
    /// @param scale f32, from byte `scaleAt`
    /// @param groupLog logarithm of the columns of a group, which are a multiple of [#COLUMNS]
    /// @param x as [#arrange] orders it
    public static float grouped(
            MemorySegment codes,
            long from,
            int columns,
            int place,
            int width,
            int center,
            MemorySegment scale,
            long scaleAt,
            int groupLog,
            float[] x,
            int xFrom) {
        int lowMask = ((1 << width) - 1) << place;
        int highMask = lowMask << 8;
        float lowBase = BIG + (center << place);
        float highBase = BIG + (center << (place + 8));
        FloatVector total = FloatVector.zero(Lanes.F32);
        for (int i = 0; i < columns; i += COLUMNS) {
            IntVector words = IntVector.fromMemorySegment(Lanes.I32, codes, from + i, LITTLE);
            IntVector upper = words.lanewise(VectorOperators.LSHR, 16);
            int at = xFrom + i;
            FloatVector even =
                    words.and(lowMask)
                            .lanewise(VectorOperators.XOR, BIG_BITS)
                            .reinterpretAsFloats()
                            .sub(lowBase)
                            .mul(FloatVector.fromArray(Lanes.F32, x, at));
            FloatVector odd =
                    words.and(highMask)
                            .lanewise(VectorOperators.XOR, BIG_BITS)
                            .reinterpretAsFloats()
                            .sub(highBase)
                            .mul(FloatVector.fromArray(Lanes.F32, x, at + COUNT));
            even =
                    upper.and(lowMask)
                            .lanewise(VectorOperators.XOR, BIG_BITS)
                            .reinterpretAsFloats()
                            .sub(lowBase)
                            .fma(FloatVector.fromArray(Lanes.F32, x, at + 2 * COUNT), even);
            odd =
                    upper.and(highMask)
                            .lanewise(VectorOperators.XOR, BIG_BITS)
                            .reinterpretAsFloats()
                            .sub(highBase)
                            .fma(FloatVector.fromArray(Lanes.F32, x, at + 3 * COUNT), odd);
            FloatVector scales =
                    FloatVector.broadcast(Lanes.F32, scale.get(Tensor.FLOAT, scaleAt + 4L * (i >> groupLog)));
            total = even.add(odd).fma(scales, total);
        }
        return Lanes.sum(total) / (1 << place);
    }

    /// sum code * x for signed bytes.
    ///
    /// @param columns a multiple of [#COLUMNS]
    /// @param x as [#arrange] orders it
    public static float signed(MemorySegment codes, long from, int columns, float[] x, int xFrom) {
        FloatVector sum0 = FloatVector.zero(Lanes.F32);
        FloatVector sum1 = FloatVector.zero(Lanes.F32);
        FloatVector sum2 = FloatVector.zero(Lanes.F32);
        FloatVector sum3 = FloatVector.zero(Lanes.F32);
        for (int i = 0; i < columns; i += COLUMNS) {
            IntVector words = IntVector.fromMemorySegment(Lanes.I32, codes, from + i, LITTLE);
            IntVector upper = words.lanewise(VectorOperators.LSHR, 16);
            int at = xFrom + i;
            // The flipped sign bit makes code + 128 of a signed code.
            sum0 =
                    words.and(0xFF)
                            .lanewise(VectorOperators.XOR, BIG_BITS | 0x80)
                            .reinterpretAsFloats()
                            .sub(BIG + 0x80)
                            .fma(FloatVector.fromArray(Lanes.F32, x, at), sum0);
            sum1 =
                    words.and(0xFF00)
                            .lanewise(VectorOperators.XOR, BIG_BITS | 0x8000)
                            .reinterpretAsFloats()
                            .sub(BIG + 0x8000)
                            .fma(FloatVector.fromArray(Lanes.F32, x, at + COUNT), sum1);
            sum2 =
                    upper.and(0xFF)
                            .lanewise(VectorOperators.XOR, BIG_BITS | 0x80)
                            .reinterpretAsFloats()
                            .sub(BIG + 0x80)
                            .fma(FloatVector.fromArray(Lanes.F32, x, at + 2 * COUNT), sum2);
            sum3 =
                    upper.and(0xFF00)
                            .lanewise(VectorOperators.XOR, BIG_BITS | 0x8000)
                            .reinterpretAsFloats()
                            .sub(BIG + 0x8000)
                            .fma(FloatVector.fromArray(Lanes.F32, x, at + 3 * COUNT), sum3);
        }
        return Lanes.sum(sum0.add(sum1).add(sum2.add(sum3)));
    }
}
