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

    private static final int F16_TINY_BITS = Float.floatToRawIntBits(RoundingBits.F16.tiny());

    /// What makes 1.5 * 2^(e + 13) of the bits of 2^e.
    private static final int F16_ROUND_BITS = (13 << 23) + (1 << 22);

    private HqqVectorLevels() {}

    /// @param flat row-major index of the first weight
    /// @param values codes, which become weights
    static void apply(HqqCodes codes, long flat, float[] values, int from, int count) {
        HqqGeometry geometry = codes.geometry();
        RoundingBits type = RoundingBits.of(codes.computeDtype());
        int groupSize = geometry.groupSize();
        if (geometry.axis() == 0) {
            applyAcross(codes, (int) (flat % codes.groups()), type, values, from, count);
        } else if (groupSize < LANES && Integer.bitCount(groupSize) == 1) {
            applySmall(codes, flat, type, values, from, count);
        } else {
            int group = (int) (flat / groupSize);
            int within = (int) (flat - (long) group * groupSize);
            boolean wholeVectors = groupSize % LANES == 0 && within % LANES == 0;
            for (int done = 0; done < count; ) {
                int run = wholeVectors ? count - done : Math.min(count - done, groupSize - within);
                applyAlong(codes, group, groupSize - within, type, values, from + done, run);
                done += run;
                within = 0;
                group++;
            }
        }
    }

    /// Neighbors in groups of whole vectors, or in one group.
    ///
    /// @param rest weights of the first group from here
    private static void applyAlong(
            HqqCodes codes, int group, int rest, RoundingBits type, float[] values, int from, int count) {
        int whole = count / LANES * LANES;
        switch (type) {
            case F32 -> along(codes, group, rest, values, from, whole);
            case BF16 -> alongBf16(codes, group, rest, values, from, whole);
            case F16 -> alongF16(codes, group, rest, values, from, whole);
        }
        int groupSize = codes.geometry().groupSize();
        for (int i = whole; i < count; i++) {
            weight(codes, i < rest ? group : group + 1 + (i - rest) / groupSize, type, values, from + i);
        }
    }

    /// Neighbors in neighboring groups.
    private static void applyAcross(HqqCodes codes, int group, RoundingBits type, float[] values, int from, int count) {
        int first = group;
        for (int done = 0; done < count; ) {
            int run = Math.min(count - done, codes.groups() - first);
            int whole = run / LANES * LANES;
            if (type == RoundingBits.F32) {
                across(codes, first, values, from + done, whole);
            } else {
                acrossRounded(codes, first, type, values, from + done, whole);
            }
            for (int i = whole; i < run; i++) {
                weight(codes, first + i, type, values, from + done + i);
            }
            done += run;
            first = 0;
        }
    }

    /// Several groups in one vector.
    private static void applySmall(HqqCodes codes, long flat, RoundingBits type, float[] values, int from, int count) {
        int whole = count / LANES * LANES;
        if (type == RoundingBits.F32) {
            small(codes, flat, values, from, whole);
        } else {
            smallRounded(codes, flat, type, values, from, whole);
        }
        for (int i = whole; i < count; i++) {
            weight(codes, (int) ((flat + i) / codes.geometry().groupSize()), type, values, from + i);
        }
    }

    private static void along(HqqCodes codes, int group, int rest, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int current = group;
        int left = rest;
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(current));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(current));
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            code.sub(zeros).mul(scales).intoArray(values, from + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                current++;
            }
        }
    }

    private static void alongBf16(HqqCodes codes, int group, int rest, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int current = group;
        int left = rest;
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(current));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(current));
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundBf16(roundBf16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                current++;
            }
        }
    }

    private static void alongF16(HqqCodes codes, int group, int rest, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int current = group;
        int left = rest;
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(current));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(current));
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            roundF16(roundF16(code.sub(zeros)).mul(scales)).intoArray(values, from + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                current++;
            }
        }
    }

    private static void across(HqqCodes codes, int group, float[] values, int from, int count) {
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            code.sub(zeros).mul(scales).intoArray(values, from + i);
        }
    }

    private static void acrossRounded(
            HqqCodes codes, int group, RoundingBits type, float[] values, int from, int count) {
        for (int i = 0; i < count; i += LANES) {
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            weights(code, zeros, scales, type).intoArray(values, from + i);
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

    private static void smallRounded(
            HqqCodes codes, long flat, RoundingBits type, float[] values, int from, int count) {
        int groupSize = codes.geometry().groupSize();
        int log = Integer.numberOfTrailingZeros(groupSize);
        for (int i = 0; i < count; i += LANES) {
            long group = (flat + i) >>> log;
            IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
            FloatVector zeros = selected(codes.zeroPoint(), group, lane);
            FloatVector scales = selected(codes.scale(), group, lane);
            FloatVector code = FloatVector.fromArray(F32, values, from + i);
            weights(code, zeros, scales, type).intoArray(values, from + i);
        }
    }

    private static void weight(HqqCodes codes, int group, RoundingBits rounding, float[] values, int at) {
        DType type = rounding.type();
        float shifted = FloatCast.round(values[at] - codes.zeroPoint(group), type);
        values[at] = FloatCast.round(shifted * codes.scale(group), type);
    }

    private static FloatVector selected(MemorySegment values, long index, IntVector lanes) {
        return lanes.selectFrom(IntVector.fromMemorySegment(I32, values, 4 * index, ByteOrder.LITTLE_ENDIAN))
                .reinterpretAsFloats();
    }

    private static FloatVector weights(FloatVector code, FloatVector zeros, FloatVector scales, RoundingBits type) {
        return round(round(code.sub(zeros), type).mul(scales), type);
    }

    /// Each lane rounded to a type.
    private static FloatVector round(FloatVector value, RoundingBits type) {
        IntVector bits = value.reinterpretAsInts();
        IntVector sign = bits.and(0x80000000);
        FloatVector magnitude = value.abs();
        IntVector last = bits.lanewise(VectorOperators.LSHR, type.shift()).and(type.odd());
        IntVector normal = bits.add(type.half()).add(last).and(type.keep());
        // in [0.5, 1) floats are 2^-24 apart, as f16 subnormals are
        IntVector subnormal = magnitude.add(0.75f).sub(0.75f).reinterpretAsInts().or(sign);
        IntVector infinity = sign.or(0x7f800000);
        return normal.blend(subnormal, magnitude.lt(type.tiny()).cast(I32))
                .blend(infinity, magnitude.compare(VectorOperators.GE, type.huge()).cast(I32))
                .reinterpretAsFloats();
    }

    /// Adding and subtracting 1.5 * 2^13 times the power of two below |value|, or below the least normal number, rounds
    /// to multiples of the last bit that F16 has there. What is too large, or no number, becomes infinite, or none.
    private static FloatVector roundF16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        FloatVector large = bits.and(0x7f800000).max(F16_TINY_BITS).add(F16_ROUND_BITS).reinterpretAsFloats();
        IntVector rounded = value.add(large).sub(large).reinterpretAsInts().or(bits.and(0x80000000));
        VectorMask<Float> finite = value.abs().lt(RoundingBits.F16.huge());
        return value.mul(Float.POSITIVE_INFINITY).blend(rounded.reinterpretAsFloats(), finite);
    }

    static FloatVector roundBf16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
        return bits.add(0x7fff).add(odd).and(0xffff0000).reinterpretAsFloats();
    }
}
