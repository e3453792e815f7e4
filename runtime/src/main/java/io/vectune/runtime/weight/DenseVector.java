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
        int row = 0;
        for (; dtype == DType.F32 && row <= rows - 4; row += 4) {
            fourRowsF32(weight, from + 4L * row * columns, columns, x, xOffset, y, to + 4L * row);
        }
        for (; dtype == DType.BF16 && row <= rows - 2; row += 2) {
            twoRowsBf16(weight, from + 2L * row * columns, columns, x, xOffset, y, to + 4L * row);
        }
        for (; row < rows; row++) {
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

    /// Rows side by side share the loads of x, which would otherwise come from behind the nearest cache as often as the
    /// weight comes from memory.
    private static void fourRowsF32(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        long row = 4L * columns;
        FloatVector a0 = FloatVector.zero(F32);
        FloatVector a1 = FloatVector.zero(F32);
        FloatVector a2 = FloatVector.zero(F32);
        FloatVector a3 = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - LANES; i += LANES) {
            long at = from + 4L * i;
            FloatVector x0 = FloatVector.fromArray(F32, x, xOffset + i);
            a0 = FloatVector.fromMemorySegment(F32, weight, at, LITTLE).fma(x0, a0);
            a1 = FloatVector.fromMemorySegment(F32, weight, at + row, LITTLE).fma(x0, a1);
            a2 = FloatVector.fromMemorySegment(F32, weight, at + 2 * row, LITTLE).fma(x0, a2);
            a3 = FloatVector.fromMemorySegment(F32, weight, at + 3 * row, LITTLE).fma(x0, a3);
        }
        float sum0 = Lanes.sum(a0);
        float sum1 = Lanes.sum(a1);
        float sum2 = Lanes.sum(a2);
        float sum3 = Lanes.sum(a3);
        for (; i < columns; i++) {
            float input = x[xOffset + i];
            sum0 = Math.fma(DenseScalar.number(DType.F32, weight, from, i), input, sum0);
            sum1 = Math.fma(DenseScalar.number(DType.F32, weight, from + row, i), input, sum1);
            sum2 = Math.fma(DenseScalar.number(DType.F32, weight, from + 2 * row, i), input, sum2);
            sum3 = Math.fma(DenseScalar.number(DType.F32, weight, from + 3 * row, i), input, sum3);
        }
        y.set(Tensor.FLOAT, to, sum0);
        y.set(Tensor.FLOAT, to + 4, sum1);
        y.set(Tensor.FLOAT, to + 8, sum2);
        y.set(Tensor.FLOAT, to + 12, sum3);
    }

    private static void rowF32(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        FloatVector a0 = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - LANES; i += LANES) {
            FloatVector weights = FloatVector.fromMemorySegment(F32, weight, from + 4L * i, LITTLE);
            a0 = weights.fma(FloatVector.fromArray(F32, x, xOffset + i), a0);
        }
        float sum = Lanes.sum(a0);
        for (; i < columns; i++) {
            sum = Math.fma(DenseScalar.number(DType.F32, weight, from, i), x[xOffset + i], sum);
        }
        y.set(Tensor.FLOAT, to, sum);
    }

    private static void twoRowsBf16(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        long row = 2L * columns;
        FloatVector even0 = FloatVector.zero(F32);
        FloatVector odd0 = FloatVector.zero(F32);
        FloatVector even1 = FloatVector.zero(F32);
        FloatVector odd1 = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - 2 * LANES; i += 2 * LANES) {
            FloatVector even = FloatVector.fromArray(F32, x, xOffset + i);
            FloatVector odd = FloatVector.fromArray(F32, x, xOffset + i + LANES);
            IntVector words0 = IntVector.fromMemorySegment(I32, weight, from + 2L * i, LITTLE);
            even0 = words0.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats().fma(even, even0);
            odd0 = words0.and(HIGH_HALF).reinterpretAsFloats().fma(odd, odd0);
            IntVector words1 = IntVector.fromMemorySegment(I32, weight, from + row + 2L * i, LITTLE);
            even1 = words1.lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats().fma(even, even1);
            odd1 = words1.and(HIGH_HALF).reinterpretAsFloats().fma(odd, odd1);
        }
        float sum0 = Lanes.sum(even0.add(odd0));
        float sum1 = Lanes.sum(even1.add(odd1));
        for (; i < columns; i++) {
            float input = x[xOffset + i];
            sum0 = Math.fma(DenseScalar.number(DType.BF16, weight, from, i), input, sum0);
            sum1 = Math.fma(DenseScalar.number(DType.BF16, weight, from + row, i), input, sum1);
        }
        y.set(Tensor.FLOAT, to, sum0);
        y.set(Tensor.FLOAT, to + 4, sum1);
    }

    private static void rowBf16(
            MemorySegment weight, long from, int columns, float[] x, int xOffset, MemorySegment y, long to) {
        FloatVector even = FloatVector.zero(F32);
        FloatVector odd = FloatVector.zero(F32);
        int i = 0;
        for (; i <= columns - 2 * LANES; i += 2 * LANES) {
            IntVector words = IntVector.fromMemorySegment(I32, weight, from + 2L * i, LITTLE);
            even =
                    words.lanewise(VectorOperators.LSHL, 16)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, xOffset + i), even);
            odd =
                    words.and(HIGH_HALF)
                            .reinterpretAsFloats()
                            .fma(FloatVector.fromArray(F32, x, xOffset + i + LANES), odd);
        }
        float sum = Lanes.sum(even.add(odd));
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
