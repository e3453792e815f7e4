package io.vectune.quant.hqq;

import io.vectune.runtime.compute.VectorWidth;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// The vector tier of [SolverKernels]: whole vectors here, the rest by the scalar tier. Lanes do not meet, except in
/// maxima, which are exact in any order.
final class VectorSolverKernels implements SolverKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final VectorSpecies<Integer> I32 = VectorSpecies.of(int.class, F32.vectorShape());
    private static final int LANES = F32.length();

    /// Lanes 8 to 15 first, for vectors of 16.
    private static final VectorShuffle<Float> SWAP_OCTETS = VectorShuffle.fromOp(F32, lane -> (lane + 8) % LANES);

    /// Bits of +infinity and, as an integer that orders floats, of -infinity.
    private static final int INFINITY = 0x7f800000;

    private static final int ORDERED_MINUS_INFINITY = 0xff800000 ^ Integer.MAX_VALUE;
    private static final int MEANS_AT_ONCE = 16;

    private static final FloatVector ONE = FloatVector.broadcast(F32, 1f);

    /// 1.5 * 2^23: adding and subtracting it rounds any |x| < 2^22 to the nearest integer, ties to even.
    static final float ROUND = 12582912f;

    private static final int ROUND_BITS = Float.floatToRawIntBits(ROUND);
    private static final int SURELY_ZERO_BITS = Float.floatToRawIntBits(ProximalShrink.SURELY_ZERO);

    private final ScalarSolverKernels scalar = new ScalarSolverKernels();

    @Override
    public boolean range(MemorySegment weights, long at, int count, float[] minMax) {
        // -0 is below 0, as Math.min has it; a NaN or an infinity is beyond all finite numbers
        IntVector min = IntVector.broadcast(I32, Integer.MAX_VALUE);
        IntVector max = IntVector.broadcast(I32, Integer.MIN_VALUE);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            IntVector bits = load(weights, at + i).reinterpretAsInts();
            IntVector ordered =
                    bits.lanewise(VectorOperators.ASHR, 31).and(Integer.MAX_VALUE).lanewise(VectorOperators.XOR, bits);
            min = ordered.min(min);
            max = ordered.max(max);
        }
        boolean finite = scalar.range(weights, at + i, count - i, minMax);
        if (i == 0) {
            return finite;
        }
        int least = min.reduceLanes(VectorOperators.MIN);
        int largest = max.reduceLanes(VectorOperators.MAX);
        minMax[0] = Math.min(minMax[0], ordered(least));
        minMax[1] = Math.max(minMax[1], ordered(largest));
        return finite && least > ORDERED_MINUS_INFINITY && largest < INFINITY;
    }

    private static float ordered(int bits) {
        return Float.intBitsToFloat(((bits >> 31) & Integer.MAX_VALUE) ^ bits);
    }

    @Override
    public boolean rangeAcross(MemorySegment weights, long at, int count, float[] min, float[] max, int from) {
        VectorMask<Float> finite = F32.maskAll(true);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector weight = load(weights, at + i);
            FloatVector.fromArray(F32, min, from + i).min(weight).intoArray(min, from + i);
            FloatVector.fromArray(F32, max, from + i).max(weight).intoArray(max, from + i);
            finite = finite.and(weight.abs().lt(Float.POSITIVE_INFINITY));
        }
        return scalar.rangeAcross(weights, at + i, count - i, min, max, from + i) && finite.allTrue();
    }

    @Override
    public boolean step(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int from,
            float[] targets,
            int targetsFrom,
            float[] errors,
            int errorsFrom) {
        int maxCode = (int) levels.maxCode();
        IntVector largest = IntVector.zero(I32);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector weight = load(weights, at + i);
            FloatVector inverse = FloatVector.fromArray(F32, levels.inverse(), from + i);
            FloatVector zero = FloatVector.fromArray(F32, levels.zero(), from + i);
            FloatVector scaled = weight.mul(inverse);
            FloatVector code = code(scaled.add(zero), maxCode);
            FloatVector error = weight.sub(code.sub(zero).div(inverse)).abs();
            error.intoArray(errors, errorsFrom + i);
            code.sub(scaled).intoArray(targets, targetsFrom + i);
            largest = error.reinterpretAsInts().max(largest);
        }
        return scalar.step(
                        weights, at + i, count - i, levels, from + i, targets, targetsFrom + i, errors, errorsFrom + i)
                && isSmall(largest);
    }

    @Override
    public boolean ranges(float[] weights, int groupSize, int groups, float[] min, float[] max) {
        boolean finite = true;
        for (int group = 0; group < groups; group++) {
            IntVector least = IntVector.broadcast(I32, Integer.MAX_VALUE);
            IntVector largest = IntVector.broadcast(I32, Integer.MIN_VALUE);
            for (int i = group * groupSize; i < (group + 1) * groupSize; i += LANES) {
                IntVector bits = FloatVector.fromArray(F32, weights, i).reinterpretAsInts();
                IntVector ordered =
                        bits.lanewise(VectorOperators.ASHR, 31)
                                .and(Integer.MAX_VALUE)
                                .lanewise(VectorOperators.XOR, bits);
                least = ordered.min(least);
                largest = ordered.max(largest);
            }
            int smallest = least.reduceLanes(VectorOperators.MIN);
            int greatest = largest.reduceLanes(VectorOperators.MAX);
            min[group] = ordered(smallest);
            max[group] = ordered(greatest);
            finite &= smallest > ORDERED_MINUS_INFINITY && greatest < INFINITY;
        }
        return finite;
    }

    @Override
    public boolean stepGroups(
            float[] weights,
            int groupSize,
            int[] groups,
            int count,
            GroupLevels levels,
            int firstGroup,
            float[] targets,
            float[] errors) {
        int maxCode = (int) levels.maxCode();
        IntVector largest = IntVector.zero(I32);
        int k = 0;
        int at = 0;
        int end = 0;
        float inverse = 1f;
        float zero = 0f;
        // one loop over all vectors, since loops over the vectors of one group are too short
        for (int to = 0; to < count * groupSize; to += LANES) {
            if (at == end) {
                int group = groups[k];
                at = group * groupSize;
                end = at + groupSize;
                inverse = levels.inverse()[firstGroup + group];
                zero = levels.zero()[firstGroup + group];
                k++;
            }
            FloatVector weight = FloatVector.fromArray(F32, weights, at);
            FloatVector scaled = weight.mul(inverse);
            FloatVector code = code(scaled.add(zero), maxCode);
            code.sub(scaled).intoArray(targets, to);
            FloatVector error = weight.sub(code.sub(zero).div(inverse)).abs();
            error.intoArray(errors, at);
            largest = error.reinterpretAsInts().max(largest);
            at += LANES;
        }
        return isSmall(largest);
    }

    @Override
    public void shrink(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int from,
            float inverseBeta,
            float[] targets,
            int targetsFrom,
            float[] errors,
            int errorsFrom,
            float[] powers) {
        int dense = 0;
        for (int i = 0; i <= count - LANES; i += LANES) {
            FloatVector magnitude = FloatVector.fromArray(F32, errors, errorsFrom + i);
            if (isLarge(magnitude).anyTrue()) {
                magnitude.intoArray(powers, dense);
                dense += LANES;
            }
        }
        VectorFloatPower.powers(powers, dense, ProximalShrink.POWER);
        int maxCode = (int) levels.maxCode();
        int i = 0;
        int power = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector magnitude = FloatVector.fromArray(F32, errors, errorsFrom + i);
            VectorMask<Float> large = isLarge(magnitude);
            if (!large.anyTrue()) {
                continue;
            }
            FloatVector weight = load(weights, at + i);
            FloatVector inverse = FloatVector.fromArray(F32, levels.inverse(), from + i);
            FloatVector zero = FloatVector.fromArray(F32, levels.zero(), from + i);
            FloatVector code = code(weight.mul(inverse).add(zero), maxCode);
            FloatVector error = weight.sub(code.sub(zero).div(inverse));
            FloatVector shrunk = magnitude.sub(FloatVector.fromArray(F32, powers, power).mul(inverseBeta));
            power += LANES;
            shrunk = shrunk.blend(0f, shrunk.lt(0f));
            shrunk = shrunk.blend(shrunk.neg(), error.lt(0f));
            FloatVector target = code.sub(weight.sub(shrunk).mul(inverse));
            FloatVector.fromArray(F32, targets, targetsFrom + i)
                    .blend(target, large)
                    .intoArray(targets, targetsFrom + i);
        }
        scalar.shrink(
                weights,
                at + i,
                count - i,
                levels,
                from + i,
                inverseBeta,
                targets,
                targetsFrom + i,
                errors,
                errorsFrom + i,
                powers);
    }

    @Override
    public void codes(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int group,
            int shift,
            int[] words,
            int wordsFrom) {
        int maxCode = (int) levels.maxCode();
        FloatVector inverses = FloatVector.broadcast(F32, levels.inverse()[group]);
        FloatVector zeros = FloatVector.broadcast(F32, levels.zero()[group]);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            IntVector code = codeBits(load(weights, at + i).mul(inverses).add(zeros), maxCode);
            insert(code, shift, words, wordsFrom + i);
        }
        scalar.codes(weights, at + i, count - i, levels, group, shift, words, wordsFrom + i);
    }

    @Override
    public void codesAcross(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int from,
            int shift,
            int[] words,
            int wordsFrom) {
        int maxCode = (int) levels.maxCode();
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector scaled = load(weights, at + i).mul(FloatVector.fromArray(F32, levels.inverse(), from + i));
            IntVector code = codeBits(scaled.add(FloatVector.fromArray(F32, levels.zero(), from + i)), maxCode);
            insert(code, shift, words, wordsFrom + i);
        }
        scalar.codesAcross(weights, at + i, count - i, levels, from + i, shift, words, wordsFrom + i);
    }

    private static void insert(IntVector code, int shift, int[] words, int at) {
        IntVector bits = code.sub(ROUND_BITS);
        IntVector.fromArray(I32, words, at).or(bits.lanewise(VectorOperators.LSHL, shift)).intoArray(words, at);
    }

    @Override
    public void sumRows(float[] values, int from, int rows, float[] lanes, int lanesFrom) {
        for (int lane = 0; lane < CascadeSum.ROW; lane += LANES) {
            FloatVector sum = FloatVector.zero(F32);
            for (int row = 0; row < rows; row++) {
                sum = FloatVector.fromArray(F32, values, from + row * CascadeSum.ROW + lane).add(sum);
            }
            ONE.mul(sum).intoArray(lanes, lanesFrom + lane);
        }
    }

    @Override
    public void addRows(float[] values, int from, int rows, float[] lanes, int lanesFrom) {
        for (int lane = 0; lane < CascadeSum.ROW; lane += LANES) {
            FloatVector sum = FloatVector.fromArray(F32, lanes, lanesFrom + lane);
            for (int row = 0; row < rows; row++) {
                sum = sum.add(FloatVector.fromArray(F32, values, from + row * CascadeSum.ROW + lane));
            }
            ONE.mul(sum).intoArray(lanes, lanesFrom + lane);
        }
    }

    @Override
    public void means(float[] values, int groupSize, int groups, float[] means, int meansFrom, float[] scratch) {
        for (int group = 0; group < groups; group += MEANS_AT_ONCE) {
            int count = Math.min(MEANS_AT_ONCE, groups - group);
            sumOctets(values, group * groupSize, groupSize, count, scratch);
            for (int k = 0; k < count; k++) {
                int at = CascadeSum.ROW + CascadeSum.VECTOR * k;
                float sum = 0f + scratch[at] + scratch[at + 1] + scratch[at + 2] + scratch[at + 3];
                means[meansFrom + group + k] =
                        sum + scratch[at + 4] + scratch[at + 5] + scratch[at + 6] + scratch[at + 7];
            }
        }
        for (int i = meansFrom; i < meansFrom + groups; i++) {
            means[i] /= groupSize;
        }
    }

    /// The rows of each group onto each other, then the four octets of the row: eight lanes a group, behind the first
    /// row of `octets`. Groups of two rows, which are the most frequent, need no loop over rows. Vectors of 16 lanes
    /// write eight values too many, which the next group or nobody reads; vectors of another width would cost every
    /// kernel of the process its known class.
    private void sumOctets(float[] values, int from, int groupSize, int groups, float[] octets) {
        for (int k = 0; k < groups; k++) {
            int first = from + k * groupSize;
            if (groupSize == 2 * CascadeSum.ROW) {
                for (int lane = 0; lane < CascadeSum.ROW; lane += LANES) {
                    FloatVector.fromArray(F32, values, first + lane)
                            .add(FloatVector.fromArray(F32, values, first + CascadeSum.ROW + lane))
                            .intoArray(octets, lane);
                }
            } else {
                sumRows(values, first, groupSize / CascadeSum.ROW, octets, 0);
            }
            int to = CascadeSum.ROW + CascadeSum.VECTOR * k;
            if (LANES == 16) {
                FloatVector low = FloatVector.fromArray(F32, octets, 0);
                FloatVector high = FloatVector.fromArray(F32, octets, 16);
                low.add(low.rearrange(SWAP_OCTETS)).add(high).add(high.rearrange(SWAP_OCTETS)).intoArray(octets, to);
                continue;
            }
            for (int lane = 0; lane < CascadeSum.VECTOR; lane += LANES) {
                FloatVector.fromArray(F32, octets, lane)
                        .add(FloatVector.fromArray(F32, octets, 8 + lane))
                        .add(FloatVector.fromArray(F32, octets, 16 + lane))
                        .add(FloatVector.fromArray(F32, octets, 24 + lane))
                        .intoArray(octets, to + lane);
            }
        }
    }

    @Override
    public void add(float[] values, int from, int count, float[] to, int toFrom) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector.fromArray(F32, to, toFrom + i)
                    .add(FloatVector.fromArray(F32, values, from + i))
                    .intoArray(to, toFrom + i);
        }
        scalar.add(values, from + i, count - i, to, toFrom + i);
    }

    /// [#ROUND] plus the code, as the bits of a float. Larger floats have larger bits, so that levels out of the range
    /// of [#ROUND] are clamped as they should be.
    private static IntVector codeBits(FloatVector level, int maxCode) {
        return level.add(ROUND).reinterpretAsInts().max(ROUND_BITS).min(ROUND_BITS + maxCode);
    }

    private static FloatVector code(FloatVector level, int maxCode) {
        return codeBits(level, maxCode).reinterpretAsFloats().sub(ROUND);
    }

    private static VectorMask<Float> isLarge(FloatVector magnitude) {
        return magnitude.compare(VectorOperators.GT, ProximalShrink.SURELY_ZERO);
    }

    private static boolean isSmall(IntVector largestError) {
        return IntVector.zero(I32).max(largestError).reduceLanes(VectorOperators.MAX) <= SURELY_ZERO_BITS;
    }

    private static FloatVector load(MemorySegment weights, long at) {
        return FloatVector.fromMemorySegment(F32, weights, 4 * at, ByteOrder.LITTLE_ENDIAN);
    }
}
