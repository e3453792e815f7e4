package io.vectune.quant.hqq;

import io.vectune.runtime.compute.VectorWidth;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// The vector tier of [HqqKernels].
///
/// A range is cut into runs in which the slot, and on axis 1 the group, do not change: L words are loaded at once,
/// shifted and masked to L codes, converted to f32, and become L weights with one subtraction and one product. Groups
/// shorter than a vector (axis 1) are not cut at: each lane selects the scale and the zero point of its own group.
final class HqqVectorKernels implements HqqKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final VectorSpecies<Integer> I32 = VectorSpecies.of(int.class, F32.vectorShape());
    private static final int LANES = F32.length();
    private static final VectorSpecies<Byte> BYTES =
            LANES == 16
                    ? VectorSpecies.of(byte.class, VectorShape.S_128_BIT)
                    : VectorSpecies.of(byte.class, VectorShape.S_64_BIT);
    private static final IntVector IOTA = IntVector.zero(I32).addIndex(1);
    private static final VectorShuffle<Float> HALF = rotation(LANES / 2);
    private static final VectorShuffle<Float> QUARTER = rotation(LANES / 4);
    private static final VectorShuffle<Float> EIGHTH = rotation(Math.max(LANES / 8, 1));
    private static final VectorShuffle<Float> SIXTEENTH = rotation(Math.max(LANES / 16, 1));

    private static VectorShuffle<Float> rotation(int by) {
        return VectorShuffle.fromOp(F32, lane -> (lane + by) % LANES);
    }

    @Override
    public void decode(HqqCodes codes, long flat, int count, float[] to, int at) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        boolean wide = packing == HqqPacking.I32_3;
        int mask = packing.mask();
        int rounding = rounding(codes.computeDtype());
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
        for (int done = 0; done < count; ) {
            int run = (int) Math.min(small ? count - done : Math.min(count - done, groupSize - within), words - word);
            int shift = packing.shift(slot);
            if (small) {
                decodeSmall(codes, wide, word, shift, mask, flat + done, rounding, to, at + done, run);
            } else {
                float zeroPoint = codes.zeroPoint(group);
                float scale = codes.scale(group);
                if (rounding == 0 && !wide) {
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
            FloatVector code = codes(byteWords(packed, word + i), shift, mask);
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
            int rounding,
            float[] to,
            int at,
            int count) {
        FloatVector zeros = FloatVector.broadcast(F32, zeroPoint);
        FloatVector scales = FloatVector.broadcast(F32, scale);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(words(packed, wide, word + i), shift, mask);
            weights(code, zeros, scales, rounding).intoArray(to, at + i);
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
            int rounding,
            float[] to,
            int at,
            int count) {
        MemorySegment packed = codes.packed();
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(words(packed, wide, word + i), shift, mask);
            FloatVector zeros = floats(codes.zeroPoint(), group + i);
            FloatVector scales = floats(codes.scale(), group + i);
            weights(code, zeros, scales, rounding).intoArray(to, at + i);
        }
        for (; i < count; i++) {
            int code = (word(packed, wide, word + i) >>> shift) & mask;
            to[at + i] = weight(code, codes.zeroPoint(group + i), codes.scale(group + i), rounding);
        }
    }

    /// Axis 1, groups of a power of two below the vector length.
    private static void decodeSmall(
            HqqCodes codes,
            boolean wide,
            long word,
            int shift,
            int mask,
            long flat,
            int rounding,
            float[] to,
            int at,
            int count) {
        MemorySegment packed = codes.packed();
        int groupSize = codes.geometry().groupSize();
        int log = Integer.numberOfTrailingZeros(groupSize);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector code = codes(words(packed, wide, word + i), shift, mask);
            long group = (flat + i) >>> log;
            IntVector lane = IOTA.add((int) (flat + i) & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
            FloatVector zeros = selected(codes.zeroPoint(), group, lane);
            FloatVector scales = selected(codes.scale(), group, lane);
            weights(code, zeros, scales, rounding).intoArray(to, at + i);
        }
        for (; i < count; i++) {
            int group = (int) ((flat + i) >>> log);
            int code = (word(packed, wide, word + i) >>> shift) & mask;
            to[at + i] = weight(code, codes.zeroPoint(group), codes.scale(group), rounding);
        }
    }

    @Override
    public void multiplyRow(
            HqqCodes codes,
            long flat,
            int count,
            float[] x,
            int tokens,
            MemorySegment y,
            long yOffset,
            long yTokenBytes) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        int groupSize = geometry.groupSize();
        long slot = flat / codes.words();
        boolean plain =
                geometry.axis() == 1
                        && codes.computeDtype() == DType.F32
                        && packing != HqqPacking.I32_3
                        && groupSize % LANES == 0
                        && flat % groupSize == 0
                        && count % groupSize == 0
                        && flat + count <= (slot + 1) * codes.words();
        int token = 0;
        if (plain) {
            int shift = packing.shift((int) slot);
            long word = flat - slot * codes.words();
            int group = (int) (flat / groupSize);
            int mask = packing.mask();
            for (; token <= tokens - 4; token += 4) {
                rowTimesFour(
                        codes,
                        word,
                        shift,
                        mask,
                        group,
                        count,
                        x,
                        token * count,
                        y,
                        yOffset + token * yTokenBytes,
                        yTokenBytes);
            }
            for (; token < tokens; token++) {
                float sum = rowTimesOne(codes, word, shift, mask, group, count, x, token * count);
                y.set(Tensor.FLOAT, yOffset + token * yTokenBytes, sum);
            }
        }
        for (; token < tokens; token++) {
            float sum =
                    geometry.axis() == 0
                            ? rowAcross(codes, flat, count, x, token * count)
                            : rowAlong(codes, flat, count, x, token * count);
            y.set(Tensor.FLOAT, yOffset + token * yTokenBytes, sum);
        }
    }

    /// Axis 1, bytes, F32, whole groups of whole vectors in one slot: sum over groups of scale * sum_i (code_i -
    /// zeroPoint) x_i.
    private static float rowTimesOne(
            HqqCodes codes, long word, int shift, int mask, int group, int count, float[] x, int xFrom) {
        MemorySegment packed = codes.packed();
        int groupSize = codes.geometry().groupSize();
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        for (int from = 0; from < count; from += groupSize) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            group++;
            int to = from + groupSize;
            int i = from;
            FloatVector part0 = FloatVector.zero(F32);
            FloatVector part1 = FloatVector.zero(F32);
            for (; i <= to - 2 * LANES; i += 2 * LANES) {
                FloatVector code0 = codes(byteWords(packed, word + i), shift, mask);
                FloatVector code1 = codes(byteWords(packed, word + i + LANES), shift, mask);
                part0 = code0.sub(zeros).fma(FloatVector.fromArray(F32, x, xFrom + i), part0);
                part1 = code1.sub(zeros).fma(FloatVector.fromArray(F32, x, xFrom + i + LANES), part1);
            }
            for (; i < to; i += LANES) {
                FloatVector code0 = codes(byteWords(packed, word + i), shift, mask);
                part0 = code0.sub(zeros).fma(FloatVector.fromArray(F32, x, xFrom + i), part0);
            }
            sum0 = part0.fma(scales, sum0);
            sum1 = part1.fma(scales, sum1);
        }
        return sum(sum0.add(sum1));
    }

    /// As [#rowTimesOne] for four tokens: codes are unpacked once.
    private static void rowTimesFour(
            HqqCodes codes,
            long word,
            int shift,
            int mask,
            int group,
            int count,
            float[] x,
            int xFrom,
            MemorySegment y,
            long yOffset,
            long yTokenBytes) {
        MemorySegment packed = codes.packed();
        int groupSize = codes.geometry().groupSize();
        FloatVector sum0 = FloatVector.zero(F32);
        FloatVector sum1 = FloatVector.zero(F32);
        FloatVector sum2 = FloatVector.zero(F32);
        FloatVector sum3 = FloatVector.zero(F32);
        for (int from = 0; from < count; from += groupSize) {
            FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
            FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
            group++;
            for (int i = from; i < from + groupSize; i += LANES) {
                FloatVector w = codes(byteWords(packed, word + i), shift, mask).sub(zeros).mul(scales);
                sum0 = w.fma(FloatVector.fromArray(F32, x, xFrom + i), sum0);
                sum1 = w.fma(FloatVector.fromArray(F32, x, xFrom + count + i), sum1);
                sum2 = w.fma(FloatVector.fromArray(F32, x, xFrom + 2 * count + i), sum2);
                sum3 = w.fma(FloatVector.fromArray(F32, x, xFrom + 3 * count + i), sum3);
            }
        }
        y.set(Tensor.FLOAT, yOffset, sum(sum0));
        y.set(Tensor.FLOAT, yOffset + yTokenBytes, sum(sum1));
        y.set(Tensor.FLOAT, yOffset + 2 * yTokenBytes, sum(sum2));
        y.set(Tensor.FLOAT, yOffset + 3 * yTokenBytes, sum(sum3));
    }

    /// Axis 1, any group size, compute type and packing.
    private static float rowAlong(HqqCodes codes, long flat, int count, float[] x, int xFrom) {
        HqqGeometry geometry = codes.geometry();
        HqqPacking packing = geometry.packing();
        boolean wide = packing == HqqPacking.I32_3;
        int mask = packing.mask();
        int rounding = rounding(codes.computeDtype());
        MemorySegment packed = codes.packed();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int groupSize = geometry.groupSize();
        boolean small = isSmall(groupSize);
        int log = Integer.numberOfTrailingZeros(groupSize);
        int group = (int) (flat / groupSize);
        int within = (int) (flat - (long) group * groupSize);
        FloatVector sum = FloatVector.zero(F32);
        float rest = 0;
        for (int done = 0; done < count; ) {
            int run = (int) Math.min(small ? count - done : Math.min(count - done, groupSize - within), words - word);
            int shift = packing.shift(slot);
            int i = 0;
            if (small) {
                for (; i <= run - LANES; i += LANES) {
                    FloatVector code = codes(words(packed, wide, word + i), shift, mask);
                    long at = flat + done + i;
                    IntVector lane = IOTA.add((int) at & (groupSize - 1)).lanewise(VectorOperators.LSHR, log);
                    FloatVector zeros = selected(codes.zeroPoint(), at >>> log, lane);
                    FloatVector scales = selected(codes.scale(), at >>> log, lane);
                    FloatVector input = FloatVector.fromArray(F32, x, xFrom + done + i);
                    sum = weights(code, zeros, scales, rounding).fma(input, sum);
                }
            } else {
                FloatVector zeros = FloatVector.broadcast(F32, codes.zeroPoint(group));
                FloatVector scales = FloatVector.broadcast(F32, codes.scale(group));
                for (; i <= run - LANES; i += LANES) {
                    FloatVector code = codes(words(packed, wide, word + i), shift, mask);
                    FloatVector input = FloatVector.fromArray(F32, x, xFrom + done + i);
                    sum = weights(code, zeros, scales, rounding).fma(input, sum);
                }
            }
            for (; i < run; i++) {
                int code = (word(packed, wide, word + i) >>> shift) & mask;
                int own = small ? (int) ((flat + done + i) >>> log) : group;
                float w = weight(code, codes.zeroPoint(own), codes.scale(own), rounding);
                rest = Math.fma(w, x[xFrom + done + i], rest);
            }
            if (!small) {
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
        return sum(sum) + rest;
    }

    /// Axis 0.
    private static float rowAcross(HqqCodes codes, long flat, int count, float[] x, int xFrom) {
        HqqPacking packing = codes.geometry().packing();
        boolean wide = packing == HqqPacking.I32_3;
        int mask = packing.mask();
        int rounding = rounding(codes.computeDtype());
        MemorySegment packed = codes.packed();
        long words = codes.words();
        int slot = (int) (flat / words);
        long word = flat - slot * words;
        int groups = codes.groups();
        int group = (int) (flat % groups);
        FloatVector sum = FloatVector.zero(F32);
        float rest = 0;
        for (int done = 0; done < count; ) {
            int run = (int) Math.min(Math.min(count - done, groups - group), words - word);
            int shift = packing.shift(slot);
            int i = 0;
            for (; i <= run - LANES; i += LANES) {
                FloatVector code = codes(words(packed, wide, word + i), shift, mask);
                FloatVector zeros = floats(codes.zeroPoint(), group + i);
                FloatVector scales = floats(codes.scale(), group + i);
                FloatVector input = FloatVector.fromArray(F32, x, xFrom + done + i);
                sum = weights(code, zeros, scales, rounding).fma(input, sum);
            }
            for (; i < run; i++) {
                int code = (word(packed, wide, word + i) >>> shift) & mask;
                float w = weight(code, codes.zeroPoint(group + i), codes.scale(group + i), rounding);
                rest = Math.fma(w, x[xFrom + done + i], rest);
            }
            done += run;
            group = group + run == groups ? 0 : group + run;
            word += run;
            if (word == words) {
                word = 0;
                slot++;
            }
        }
        return sum(sum) + rest;
    }

    private static boolean isSmall(int groupSize) {
        return groupSize < LANES && Integer.bitCount(groupSize) == 1;
    }

    private static int rounding(DType type) {
        return type == DType.F32 ? 0 : type == DType.BF16 ? 1 : 2;
    }

    private static IntVector byteWords(MemorySegment packed, long word) {
        if (LANES == 4) {
            // no vector of four bytes: one int, spread over the lanes
            return IntVector.broadcast(I32, packed.get(Tensor.INT, word))
                    .lanewise(VectorOperators.LSHR, IOTA.lanewise(VectorOperators.LSHL, 3))
                    .and(0xFF);
        }
        return (IntVector)
                ByteVector.fromMemorySegment(BYTES, packed, word, ByteOrder.LITTLE_ENDIAN)
                        .convertShape(VectorOperators.ZERO_EXTEND_B2I, I32, 0);
    }

    private static IntVector words(MemorySegment packed, boolean wide, long word) {
        return wide
                ? IntVector.fromMemorySegment(I32, packed, 4 * word, ByteOrder.LITTLE_ENDIAN)
                : byteWords(packed, word);
    }

    private static int word(MemorySegment packed, boolean wide, long word) {
        return wide ? packed.get(Tensor.INT, 4 * word) : packed.get(Tensor.BYTE, word) & 0xFF;
    }

    private static FloatVector codes(IntVector words, int shift, int mask) {
        return (FloatVector)
                words.lanewise(VectorOperators.LSHR, shift).and(mask).convertShape(VectorOperators.I2F, F32, 0);
    }

    private static FloatVector floats(MemorySegment values, long index) {
        return FloatVector.fromMemorySegment(F32, values, 4 * index, ByteOrder.LITTLE_ENDIAN);
    }

    private static FloatVector selected(MemorySegment values, long index, IntVector lanes) {
        return lanes.selectFrom(IntVector.fromMemorySegment(I32, values, 4 * index, ByteOrder.LITTLE_ENDIAN))
                .reinterpretAsFloats();
    }

    private static FloatVector weights(FloatVector code, FloatVector zeros, FloatVector scales, int rounding) {
        if (rounding == 0) {
            return code.sub(zeros).mul(scales);
        }
        if (rounding == 1) {
            return roundBf16(roundBf16(code.sub(zeros)).mul(scales));
        }
        return roundF16(roundF16(code.sub(zeros)).mul(scales));
    }

    private static float weight(int code, float zeroPoint, float scale, int rounding) {
        DType type = rounding == 0 ? DType.F32 : rounding == 1 ? DType.BF16 : DType.F16;
        return HalfRounding.round(HalfRounding.round(code - zeroPoint, type) * scale, type);
    }

    private static FloatVector roundBf16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 16).and(1);
        return bits.add(0x7fff).add(odd).and(0xffff0000).reinterpretAsFloats();
    }

    private static FloatVector roundF16(FloatVector value) {
        IntVector bits = value.reinterpretAsInts();
        IntVector sign = bits.and(0x80000000);
        FloatVector magnitude = value.abs();
        IntVector odd = bits.lanewise(VectorOperators.LSHR, 13).and(1);
        IntVector normal = bits.add(0xfff).add(odd).and(0xffffe000);
        // in [0.5, 1) floats are 2^-24 apart, as f16 subnormals are
        IntVector subnormal = magnitude.add(0.75f).sub(0.75f).reinterpretAsInts().or(sign);
        IntVector infinity = sign.or(0x7f800000);
        return normal.blend(subnormal, magnitude.lt(0x1p-14f).cast(I32))
                .blend(infinity, magnitude.compare(VectorOperators.GE, 65520f).cast(I32))
                .reinterpretAsFloats();
    }

    /// The sum of all lanes by halves: a fixed order.
    private static float sum(FloatVector lanes) {
        FloatVector total = lanes.add(lanes.rearrange(HALF));
        total = total.add(total.rearrange(QUARTER));
        if (LANES >= 8) {
            total = total.add(total.rearrange(EIGHTH));
        }
        if (LANES >= 16) {
            total = total.add(total.rearrange(SIXTEENTH));
        }
        return total.lane(0);
    }
}
