package io.vectune.runtime.weight;

import io.vectune.runtime.compute.Lanes;
import io.vectune.runtime.compute.VectorWidth;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// The Vector API kernels of a dense weight: bound by the memory that the weight is read from.
final class DenseVector implements DenseKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final int LANES = F32.length();
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final VectorSpecies<Integer> I32 = F32.withLanes(int.class);
    private static final VectorSpecies<Short> I16 =
            VectorSpecies.of(short.class, VectorShape.forBitSize(Math.max(64, F32.vectorBitSize() / 2)));

    // An f16 whose bits are moved into the places of an f32's has an exponent too small by 127 - 15: one exact
    // multiplication repairs it, subnormals included. Infinities and NaNs come out at 65536 or more: all ones then.
    private static final float REBIAS = 0x1p112f;
    private static final int SIGN_AND_MAGNITUDE = 0x8FFFE000;
    private static final int MAGNITUDE = 0x7FFFFFFF;
    private static final int ABOVE_FINITE = Float.floatToRawIntBits(0x1p16f);
    private static final int EXPONENT = 0x7F800000;

    // Two 16-bit numbers in a word: the even column is the low half, the odd column the high half.
    private static final int HIGH_HALF = 0xFFFF0000;

    @Override
    public void decode(DType dtype, MemorySegment source, long from, int count, float[] target, int offset) {
        switch (dtype) {
            case F32 -> MemorySegment.copy(source, Tensor.FLOAT, from, target, offset, count);
            case BF16 -> decodeBf16(source, from, count, target, offset);
            default -> decodeF16(source, from, count, target, offset);
        }
    }

    @Override
    public void product(
            DType dtype,
            MemorySegment weight,
            long from,
            int rows,
            int columns,
            float[] x,
            int xOffset,
            MemorySegment y,
            long to) {
        // Row after row: rows read side by side are as many streams, which memory serves at half the rate.
        for (int row = 0; row < rows; row++) {
            long at = from + (long) row * columns * dtype.bytes();
            switch (dtype) {
                case F32 -> rowF32(weight, at, columns, x, xOffset, y, to + 4L * row);
                case BF16 -> rowBf16(weight, at, columns, x, xOffset, y, to + 4L * row);
                default -> rowF16(weight, at, columns, x, xOffset, y, to + 4L * row);
            }
        }
    }

    @Override
    public void prepare(DType dtype, MemorySegment source, long from, int count, float[] target, int offset) {
        if (dtype == DType.F32) {
            MemorySegment.copy(source, Tensor.FLOAT, from, target, offset, count);
            return;
        }
        int i = 0;
        for (; i <= count - 2 * LANES; i += 2 * LANES) {
            for (int lane = 0; lane < LANES; lane++) {
                target[offset + i + lane] = source.get(Tensor.FLOAT, from + 4L * (i + 2 * lane));
                target[offset + i + LANES + lane] = source.get(Tensor.FLOAT, from + 4L * (i + 2 * lane + 1));
            }
        }
        for (; i < count; i++) {
            target[offset + i] = source.get(Tensor.FLOAT, from + 4L * i);
        }
    }

    private static void decodeBf16(MemorySegment source, long from, int count, float[] target, int offset) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            ((IntVector)
                            ShortVector.fromMemorySegment(I16, source, from + 2L * i, LITTLE)
                                    .convertShape(VectorOperators.ZERO_EXTEND_S2I, I32, 0))
                    .lanewise(VectorOperators.LSHL, 16)
                    .reinterpretAsFloats()
                    .intoArray(target, offset + i);
        }
        for (; i < count; i++) {
            target[offset + i] = DenseScalar.number(DType.BF16, source, from, i);
        }
    }

    private static void decodeF16(MemorySegment source, long from, int count, float[] target, int offset) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            IntVector bits =
                    ((IntVector)
                                    ShortVector.fromMemorySegment(I16, source, from + 2L * i, LITTLE)
                                            .convertShape(VectorOperators.S2I, I32, 0))
                            .lanewise(VectorOperators.LSHL, 13)
                            .and(SIGN_AND_MAGNITUDE);
            rebiased(bits).intoArray(target, offset + i);
        }
        for (; i < count; i++) {
            target[offset + i] = DenseScalar.number(DType.F16, source, from, i);
        }
    }

    /// f32 numbers from the sign, exponent and fraction of f16 numbers in the places of those of an f32.
    private static FloatVector rebiased(IntVector bits) {
        FloatVector scaled = bits.reinterpretAsFloats().mul(REBIAS);
        IntVector widened = scaled.reinterpretAsInts();
        IntVector overflow = widened.and(MAGNITUDE).neg().add(ABOVE_FINITE - 1).lanewise(VectorOperators.ASHR, 31);
        return widened.or(overflow.and(EXPONENT)).reinterpretAsFloats();
    }

    private static void rowF32(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        FloatVector sum2 = FloatVector.zero(F32);
        FloatVector sum3 = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - 4 * LANES; i += 4 * LANES) {
            long at = from + 4L * i;
            int input = xOffset + i;
            sum0 =
                    FloatVector.fromMemorySegment(F32, weight, at, LITTLE)
                            .fma(FloatVector.fromArray(F32, x, input), sum0);
            sum1 =
                    FloatVector.fromMemorySegment(F32, weight, at + 4L * LANES, LITTLE)
                            .fma(FloatVector.fromArray(F32, x, input + LANES), sum1);
            sum2 =
                    FloatVector.fromMemorySegment(F32, weight, at + 8L * LANES, LITTLE)
                            .fma(FloatVector.fromArray(F32, x, input + 2 * LANES), sum2);
            sum3 =
                    FloatVector.fromMemorySegment(F32, weight, at + 12L * LANES, LITTLE)
                            .fma(FloatVector.fromArray(F32, x, input + 3 * LANES), sum3);
        }
        for (; i <= columns - LANES; i += LANES) {
            FloatVector weights = FloatVector.fromMemorySegment(F32, weight, from + 4L * i, LITTLE);
            sum0 = weights.fma(FloatVector.fromArray(F32, x, xOffset + i), sum0);
        }
        float sum = Lanes.sum(sum0.add(sum1).add(sum2.add(sum3)));
        for (; i < columns; i++) {
            sum = Math.fma(DenseScalar.number(DType.F32, weight, from, i), x[xOffset + i], sum);
        }
        y.set(Tensor.FLOAT, to, sum);
    }

    private static void rowBf16(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        FloatVector even0 = FloatVector.zero(F32);
        FloatVector odd0 = FloatVector.zero(F32);
        FloatVector even1 = FloatVector.zero(F32);
        FloatVector odd1 = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - 4 * LANES; i += 4 * LANES) {
            int input = xOffset + i;
            IntVector first = IntVector.fromMemorySegment(I32, weight, from + 2L * i, LITTLE);
            IntVector second = IntVector.fromMemorySegment(I32, weight, from + 2L * i + 4L * LANES, LITTLE);
            even0 =
                    first.lanewise(VectorOperators.LSHL, 16)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, input), even0);
            odd0 = first.and(HIGH_HALF).reinterpretAsFloats().fma(FloatVector.fromArray(F32, x, input + LANES), odd0);
            even1 =
                    second.lanewise(VectorOperators.LSHL, 16)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, input + 2 * LANES), even1);
            odd1 =
                    second.and(HIGH_HALF)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, input + 3 * LANES), odd1);
        }
        if (i <= columns - 2 * LANES) {
            IntVector words = IntVector.fromMemorySegment(I32, weight, from + 2L * i, LITTLE);
            even0 =
                    words.lanewise(VectorOperators.LSHL, 16)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, xOffset + i), even0);
            odd0 =
                    words.and(HIGH_HALF)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, xOffset + i + LANES), odd0);
            i += 2 * LANES;
        }
        float sum = Lanes.sum(even0.add(odd0).add(even1.add(odd1)));
        for (; i < columns; i++) {
            sum = Math.fma(DenseScalar.number(DType.BF16, weight, from, i), x[xOffset + i], sum);
        }
        y.set(Tensor.FLOAT, to, sum);
    }

    private static void rowF16(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        FloatVector even = FloatVector.zero(F32);
        FloatVector odd = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - 2 * LANES; i += 2 * LANES) {
            IntVector words = IntVector.fromMemorySegment(I32, weight, from + 2L * i, LITTLE);
            IntVector low =
                    words.lanewise(VectorOperators.LSHL, 16)
                            .lanewise(VectorOperators.ASHR, 3)
                            .and(SIGN_AND_MAGNITUDE)
                            .reinterpretAsFloats()
                            .mul(REBIAS)
                            .reinterpretAsInts();
            IntVector high =
                    words.lanewise(VectorOperators.ASHR, 3)
                            .and(SIGN_AND_MAGNITUDE)
                            .reinterpretAsFloats()
                            .mul(REBIAS)
                            .reinterpretAsInts();
            IntVector lowOverflow =
                    low.and(MAGNITUDE).neg().add(ABOVE_FINITE - 1).lanewise(VectorOperators.ASHR, 31).and(EXPONENT);
            IntVector highOverflow =
                    high.and(MAGNITUDE).neg().add(ABOVE_FINITE - 1).lanewise(VectorOperators.ASHR, 31).and(EXPONENT);
            even = low.or(lowOverflow).reinterpretAsFloats().fma(FloatVector.fromArray(F32, x, xOffset + i), even);
            odd =
                    high.or(highOverflow)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, xOffset + i + LANES), odd);
        }
        float sum = Lanes.sum(even.add(odd));
        for (; i < columns; i++) {
            sum = Math.fma(DenseScalar.number(DType.F16, weight, from, i), x[xOffset + i], sum);
        }
        y.set(Tensor.FLOAT, to, sum);
    }
}
