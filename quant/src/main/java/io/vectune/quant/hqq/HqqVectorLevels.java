package io.vectune.quant.hqq;

import static io.vectune.quant.hqq.HqqVectorKernels.floats;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// Makes weights of codes, in place: (code - zeroPoint) * scale, each operation rounded to the compute type.
///
/// Groups of any size are taken one by one, those of whole vectors (axis 1) all in one loop. In groups of a power of
/// two below the vector length each lane selects the scale and the zero point of its own group. One loop a method, and
/// the type decided outside: C2 makes objects of vectors that come out of a branch, and of all in a method of two such
/// loops.
final class HqqVectorLevels {
    private static final VectorSpecies<Float> F32 = Lanes.F32;
    private static final VectorSpecies<Integer> I32 = Lanes.I32;
    private static final int LANES = Lanes.COUNT;
    private static final IntVector IOTA = IntVector.zero(I32).addIndex(1);

    /// The least normal number.
    private static final int F16_TINY_BITS = Float.floatToRawIntBits(0x1p-14f);

    /// What makes 1.5 * 2^(e + 13) of the bits of 2^e.
    private static final int F16_ROUND_BITS = (13 << 23) + (1 << 22);

    /// The least number that rounds to infinity.
    private static final float F16_INFINITE = 65520;

    private HqqVectorLevels() {}

    /// @param flat row-major index of the first weight
    /// @param values codes, which become weights
    static void apply(HqqCodes codes, long flat, float[] values, int from, int count) {
        HqqGeometry geometry = codes.geometry();
        DType type = codes.computeDtype();
        int groupSize = geometry.groupSize();
        boolean across = geometry.axis() == 0;
        boolean small = groupSize < LANES && Integer.bitCount(groupSize) == 1;
        Loop loop = across ? across(type) : small ? small(type) : along(type);
        boolean together = !across && (small || (groupSize % LANES == 0 && flat % LANES == 0));
        int period = across ? codes.groups() : groupSize;
        for (int done = 0; done < count; ) {
            long first = flat + done;
            int run = together ? count - done : (int) Math.min(count - done, period - first % period);
            int whole = run / LANES * LANES;
            loop.run(codes, first, values, from + done, whole);
            for (int i = whole; i < run; i++) {
                weight(codes, geometry.groupOf(first + i), type, values, from + done + i);
            }
            done += run;
        }
    }

    /// Makes weights of whole vectors. One call site for all loops: where a process uses several, C2 leaves them apart,
    /// each with its vectors in registers.
    private interface Loop {
        void run(HqqCodes codes, long flat, float[] values, int from, int count);
    }

    private static Loop along(DType type) {
        return switch (type) {
            case F32 -> HqqVectorLevels::along;
            case BF16 -> HqqVectorLevels::alongBf16;
            default -> HqqVectorLevels::alongF16;
        };
    }

    private static Loop across(DType type) {
        return switch (type) {
            case F32 -> HqqVectorLevels::across;
            case BF16 -> HqqVectorLevels::acrossBf16;
            default -> HqqVectorLevels::acrossF16;
        };
    }

    private static Loop small(DType type) {
        return switch (type) {
            case F32 -> HqqVectorLevels::small;
            case BF16 -> HqqVectorLevels::smallBf16;
            default -> HqqVectorLevels::smallF16;
        };
    }

    private static void along(HqqCodes codes, long flat, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int group = (int) (flat / groupSize);
        int left = groupSize - (int) (flat - (long) group * groupSize);
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            code.sub(zeros).mul(scales).intoArray(values, from + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                group++;
            }
        }
    }

    private static void alongBf16(HqqCodes codes, long flat, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int group = (int) (flat / groupSize);
        int left = groupSize - (int) (flat - (long) group * groupSize);
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundBf16(roundBf16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                group++;
            }
        }
    }

    private static void alongF16(HqqCodes codes, long flat, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int group = (int) (flat / groupSize);
        int left = groupSize - (int) (flat - (long) group * groupSize);
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundF16(roundF16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                group++;
            }
        }
    }

    private static void across(HqqCodes codes, long flat, float[] values, int from, int count) {
        int group = (int) (flat % codes.groups());
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            code.sub(zeros).mul(scales).intoArray(values, from + i);
        }
    }

    private static void acrossBf16(HqqCodes codes, long flat, float[] values, int from, int count) {
        int group = (int) (flat % codes.groups());
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundBf16(roundBf16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
        }
    }

    private static void acrossF16(HqqCodes codes, long flat, float[] values, int from, int count) {
        int group = (int) (flat % codes.groups());
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundF16(roundF16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
        }
    }

    private static void small(HqqCodes codes, long flat, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int log = Integer.numberOfTrailingZeros(groupSize);
        for (int i = 0; i < count; i += LANES) {
            long group = (flat + i) >>> log;
            IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
            FloatVector zeros = selected(codes.zeroPoint(), group, lane);
            FloatVector scales = selected(codes.scale(), group, lane);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            code.sub(zeros).mul(scales).intoArray(values, from + i);
        }
    }

    private static void smallBf16(HqqCodes codes, long flat, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int log = Integer.numberOfTrailingZeros(groupSize);
        for (int i = 0; i < count; i += LANES) {
            long group = (flat + i) >>> log;
            IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
            FloatVector zeros = selected(codes.zeroPoint(), group, lane);
            FloatVector scales = selected(codes.scale(), group, lane);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundBf16(roundBf16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
        }
    }

    private static void smallF16(HqqCodes codes, long flat, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int log = Integer.numberOfTrailingZeros(groupSize);
        for (int i = 0; i < count; i += LANES) {
            long group = (flat + i) >>> log;
            IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
            FloatVector zeros = selected(codes.zeroPoint(), group, lane);
            FloatVector scales = selected(codes.scale(), group, lane);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundF16(roundF16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
        }
    }

    private static void weight(HqqCodes codes, int group, DType type, float[] values, int at) {
        float shifted = FloatCast.round(values[at] - codes.zeroPoint(group), type);
        values[at] = FloatCast.round(shifted * codes.scale(group), type);
    }

    private static FloatVector selected(MemorySegment values, long index, IntVector lanes) {
        return lanes.selectFrom(IntVector.fromMemorySegment(I32, values, 4 * index, ByteOrder.LITTLE_ENDIAN))
                .reinterpretAsFloats();
    }

    /// Adding and subtracting 1.5 * 2^13 times the power of two below |value|, or below the least normal number, rounds
    /// to multiples of the last bit that F16 has there. What is too large, or no number, becomes infinite, or none.
    static FloatVector roundF16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        FloatVector large = bits.and(0x7f800000).max(F16_TINY_BITS).add(F16_ROUND_BITS).reinterpretAsFloats();
        IntVector rounded = value.add(large).sub(large).reinterpretAsInts().or(bits.and(0x80000000));
        VectorMask<Float> finite = value.abs().lt(F16_INFINITE);
        return value.mul(Float.POSITIVE_INFINITY).blend(rounded.reinterpretAsFloats(), finite);
    }

    static FloatVector roundBf16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
        return bits.add(0x7fff).add(odd).and(0xffff0000).reinterpretAsFloats();
    }
}
