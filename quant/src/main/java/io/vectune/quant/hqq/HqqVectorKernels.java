package io.vectune.quant.hqq;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The vector tier of [HqqKernels].
///
/// A range is cut into runs in which the slot, and on axis 1 the group, do not change: L words are loaded at once,
/// shifted and masked to L codes, converted to f32, and become L weights with one subtraction and one product. Groups
/// shorter than a vector (axis 1) are not cut at: each lane selects the scale and the zero point of its own group.
final class HqqVectorKernels implements HqqKernels {
    private static final VectorSpecies<Float> F32 = Lanes.F32;
    private static final VectorSpecies<Integer> I32 = Lanes.I32;
    private static final int LANES = Lanes.COUNT;
    private static final IntVector IOTA = IntVector.zero(I32).addIndex(1);

    @Override
    public void decode(HqqCodes codes, long flat, int count, float[] to, int at) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        boolean wide = packing == HqqPacking.I32_3;
        int mask = packing.mask();
        RoundingBits rounding = RoundingBits.of(codes.computeDtype());
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        MemorySegment packed = codes.packed();
        if (geometry.axis() == 0) {
            int groups = codes.groups();
            int group = (int) (flat % groups);
            for (int done = 0; done < count; ) {
                int run = (int) Math.min(Math.min(count - done, groups - group), words - word);
                decodeAcross(codes, wide, word, packing.shift(slot), mask, group, rounding, to, at + done, run);
                done += run;
                group = group + run == groups ? 0 : group + run;
                word += run;
                if (word == words) {
                    word = 0;
                    slot++;
                }
            }
            return;
        }
        int groupSize = geometry.groupSize();
        int group = (int) (flat / groupSize);
        int within = (int) (flat - (long) group * groupSize);
        boolean small = isSmall(groupSize);
        boolean plain = rounding == RoundingBits.F32 && !wide && groupSize % LANES == 0;
        for (int done = 0; done < count; ) {
            int shift = packing.shift(slot);
            boolean several = plain && within % LANES == 0;
            int rest = small || several ? count - done : Math.min(count - done, groupSize - within);
            int run = (int) Math.min(rest, words - word);
            if (small) {
                decodeSmall(codes, wide, word, shift, mask, flat + done, rounding, to, at + done, run);
            } else if (several) {
                run = run < LANES ? run : run / LANES * LANES;
                decodeGroups(codes, word, shift, mask, group, groupSize - within, to, at + done, run);
                within += run;
                group += within / groupSize;
                within %= groupSize;
            } else {
                float zeroPoint = codes.zeroPoint(group);
                float scale = codes.scale(group);
                if (rounding == RoundingBits.F32 && !wide) {
                    decodeAlong(packed, word, shift, mask, zeroPoint, scale, to, at + done, run);
                } else {
                    decodeAlong(packed, wide, word, shift, mask, zeroPoint, scale, rounding, to, at + done, run);
                }
                within += run;
                if (within == groupSize) {
                    within = 0;
                    group++;
                }
            }
            done += run;
            word += run;
            if (word == words) {
                word = 0;
                slot++;
            }
        }
    }

    /// Bytes, groups of whole vectors, compute type F32.
    ///
    /// @param rest weights of the first group from here
    /// @param count whole vectors, or less than one vector
    private static void decodeGroups(
            HqqCodes codes, long word, int shift, int mask, int group, int rest, float[] to, int at, int count) {
        MemorySegment packed = codes.packed();
        int groupSize = codes.geometry().groupSize();
        int current = group;
        int left = rest;
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(current));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(current));
            FloatVector code = codes(Lanes.unsignedBytes(packed, word + i), shift, mask);
            code.sub(zeros).mul(scales).intoArray(to, at + i);
            left -= LANES;
            if (left == 0) {
                left = groupSize;
                current++;
            }
        }
        for (; i < count; i++) {
            int code = ((packed.get(Tensor.BYTE, word + i) & 0xFF) >>> shift) & mask;
            to[at + i] = (code - codes.zeroPoint(current)) * codes.scale(current);
        }
    }

    /// Bytes, one group, compute type F32.
    private static void decodeAlong(
            MemorySegment packed,
            long word,
            int shift,
            int mask,
            float zeroPoint,
            float scale,
            float[] to,
            int at,
            int count) {
        FloatVector zeros = FloatVector.broadcast(F32, zeroPoint);
        FloatVector scales = FloatVector.broadcast(F32, scale);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(Lanes.unsignedBytes(packed, word + i), shift, mask);
            code.sub(zeros).mul(scales).intoArray(to, at + i);
        }
        for (; i < count; i++) {
            int code = ((packed.get(Tensor.BYTE, word + i) & 0xFF) >>> shift) & mask;
            to[at + i] = (code - zeroPoint) * scale;
        }
    }

    private static void decodeAlong(
            MemorySegment packed,
            boolean wide,
            long word,
            int shift,
            int mask,
            float zeroPoint,
            float scale,
            RoundingBits rounding,
            float[] to,
            int at,
            int count) {
        FloatVector zeros = FloatVector.broadcast(F32, zeroPoint);
        FloatVector scales = FloatVector.broadcast(F32, scale);
        int i = 0;
        // A loop for each width of words: C2 makes objects of vectors that come out of a branch.
        if (wide) {
            for (; i <= count - LANES; i += LANES) {
                FloatVector code = codes(wideWords(packed, word + i), shift, mask);
                weights(code, zeros, scales, rounding).intoArray(to, at + i);
            }
        } else {
            for (; i <= count - LANES; i += LANES) {
                FloatVector code = codes(Lanes.unsignedBytes(packed, word + i), shift, mask);
                weights(code, zeros, scales, rounding).intoArray(to, at + i);
            }
        }
        for (; i < count; i++) {
            int code = (word(packed, wide, word + i) >>> shift) & mask;
            to[at + i] = weight(code, zeroPoint, scale, rounding);
        }
    }

    /// Axis 0: neighbors belong to neighboring groups.
    private static void decodeAcross(
            HqqCodes codes,
            boolean wide,
            long word,
            int shift,
            int mask,
            int group,
            RoundingBits rounding,
            float[] to,
            int at,
            int count) {
        // A method for each way of loading and rounding: C2 makes objects of vectors that come out of a branch.
        int done;
        if (wide) {
            done = acrossWords(codes, word, shift, mask, group, rounding, to, at, count);
        } else if (rounding == RoundingBits.F32) {
            done = acrossBytes(codes, word, shift, mask, group, to, at, count);
        } else {
            done = acrossRoundedBytes(codes, word, shift, mask, group, rounding, to, at, count);
        }
        for (int i = done; i < count; i++) {
            int code = (word(codes.packed(), wide, word + i) >>> shift) & mask;
            to[at + i] = weight(code, codes.zeroPoint(group + i), codes.scale(group + i), rounding);
        }
    }

    /// Whole vectors of 32-bit words; the number of weights done.
    private static int acrossWords(
            HqqCodes codes,
            long word,
            int shift,
            int mask,
            int group,
            RoundingBits rounding,
            float[] to,
            int at,
            int count) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(wideWords(codes.packed(), word + i), shift, mask);
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            weights(code, zeros, scales, rounding).intoArray(to, at + i);
        }
        return i;
    }

    /// Whole vectors of bytes, F32.
    private static int acrossBytes(
            HqqCodes codes, long word, int shift, int mask, int group, float[] to, int at, int count) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(Lanes.unsignedBytes(codes.packed(), word + i), shift, mask);
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            code.sub(zeros).mul(scales).intoArray(to, at + i);
        }
        return i;
    }

    /// Whole vectors of bytes, rounded.
    private static int acrossRoundedBytes(
            HqqCodes codes,
            long word,
            int shift,
            int mask,
            int group,
            RoundingBits rounding,
            float[] to,
            int at,
            int count) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(Lanes.unsignedBytes(codes.packed(), word + i), shift, mask);
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            weights(code, zeros, scales, rounding).intoArray(to, at + i);
        }
        return i;
    }

    /// Axis 1, groups of a power of two below the vector length.
    private static void decodeSmall(
            HqqCodes codes,
            boolean wide,
            long word,
            int shift,
            int mask,
            long flat,
            RoundingBits rounding,
            float[] to,
            int at,
            int count) {
        MemorySegment packed = codes.packed();
        int groupSize = codes.geometry().groupSize();
        int log = Integer.numberOfTrailingZeros(groupSize);
        int i = 0;
        if (wide) {
            for (; i <= count - LANES; i += LANES) {
                FloatVector code = codes(wideWords(packed, word + i), shift, mask);
                long group = (flat + i) >>> log;
                IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
                FloatVector zeros = selected(codes.zeroPoint(), group, lane);
                weights(code, zeros, selected(codes.scale(), group, lane), rounding).intoArray(to, at + i);
            }
        } else {
            for (; i <= count - LANES; i += LANES) {
                FloatVector code = codes(Lanes.unsignedBytes(packed, word + i), shift, mask);
                long group = (flat + i) >>> log;
                IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
                FloatVector zeros = selected(codes.zeroPoint(), group, lane);
                weights(code, zeros, selected(codes.scale(), group, lane), rounding).intoArray(to, at + i);
            }
        }
        for (; i < count; i++) {
            int group = (int) ((flat + i) >>> log);
            int code = (word(packed, wide, word + i) >>> shift) & mask;
            to[at + i] = weight(code, codes.zeroPoint(group), codes.scale(group), rounding);
        }
    }

    static boolean isSmall(int groupSize) {
        return groupSize < LANES && Integer.bitCount(groupSize) == 1;
    }

    static IntVector wideWords(MemorySegment packed, long word) {
        return IntVector.fromMemorySegment(I32, packed, 4 * word, ByteOrder.LITTLE_ENDIAN);
    }

    static int word(MemorySegment packed, boolean wide, long word) {
        return wide ? packed.get(Tensor.INT, 4 * word) : packed.get(Tensor.BYTE, word) & 0xFF;
    }

    static FloatVector codes(IntVector words, int shift, int mask) {
        return (FloatVector)
                words.lanewise(VectorOperators.LSHR, shift).and(mask).convertShape(VectorOperators.I2F, F32, 0);
    }

    static FloatVector floats(MemorySegment values, long index) {
        return FloatVector.fromMemorySegment(F32, values, 4 * index, ByteOrder.LITTLE_ENDIAN);
    }

    static FloatVector selected(MemorySegment values, long index, IntVector lanes) {
        return lanes.selectFrom(IntVector.fromMemorySegment(I32, values, 4 * index, ByteOrder.LITTLE_ENDIAN))
                .reinterpretAsFloats();
    }

    static FloatVector weights(FloatVector code, FloatVector zeros, FloatVector scales, RoundingBits rounding) {
        return round(round(code.sub(zeros), rounding).mul(scales), rounding);
    }

    static float weight(int code, float zeroPoint, float scale, RoundingBits rounding) {
        DType type = rounding.type();
        return FloatCast.round(FloatCast.round(code - zeroPoint, type) * scale, type);
    }

    /// Each lane rounded to a type.
    static FloatVector round(FloatVector value, RoundingBits type) {
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

    static FloatVector roundBf16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
        return bits.add(0x7fff).add(odd).and(0xffff0000).reinterpretAsFloats();
    }
}
