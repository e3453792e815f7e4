package io.vectune.quant.hqq;

import io.vectune.runtime.compute.VectorWidth;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// The vector tier of [SolverKernels]: whole vectors here, the rest by the scalar tier. Lanes do not meet, except in
/// maxima, which are exact in any order.
final class VectorSolverKernels implements SolverKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final VectorSpecies<Integer> I32 = VectorSpecies.of(int.class, F32.vectorShape());
    private static final int LANES = F32.length();

    /// Eight lanes, or half of them.
    private static final VectorSpecies<Float> OCTET = LANES >= 8 ? FloatVector.SPECIES_256 : FloatVector.SPECIES_128;

    private static final int[] EVERY_EIGHTH = IntVector.zero(I32).addIndex(8).toArray();

    /// 1.5 * 2^23: adding and subtracting it rounds any |x| < 2^22 to the nearest integer, ties to even.
    private static final float ROUND = 12582912f;

    private final ScalarSolverKernels scalar = new ScalarSolverKernels();

    @Override
    public boolean range(MemorySegment weights, long at, int count, float[] minMax) {
        FloatVector min = FloatVector.broadcast(F32, minMax[0]);
        FloatVector max = FloatVector.broadcast(F32, minMax[1]);
        VectorMask<Float> finite = F32.maskAll(true);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector weight = load(weights, at + i);
            min = min.min(weight);
            max = max.max(weight);
            finite = finite.and(weight.abs().lt(Float.POSITIVE_INFINITY));
        }
        minMax[0] = min.reduceLanes(VectorOperators.MIN);
        minMax[1] = max.reduceLanes(VectorOperators.MAX);
        return scalar.range(weights, at + i, count - i, minMax) && finite.allTrue();
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
            float inverse,
            float zero,
            float maxCode,
            float[] targets,
            int targetsFrom,
            float[] errors,
            int errorsFrom) {
        VectorMask<Float> large = F32.maskAll(false);
        FloatVector inverses = FloatVector.broadcast(F32, inverse);
        FloatVector zeros = FloatVector.broadcast(F32, zero);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector weight = load(weights, at + i);
            FloatVector scaled = weight.mul(inverses);
            FloatVector code = code(scaled.add(zeros), maxCode);
            FloatVector error = weight.sub(code.sub(zeros).div(inverses)).abs();
            error.intoArray(errors, errorsFrom + i);
            code.sub(scaled).intoArray(targets, targetsFrom + i);
            large = large.or(error.compare(VectorOperators.GT, ProximalShrink.SURELY_ZERO));
        }
        return scalar.step(
                        weights,
                        at + i,
                        count - i,
                        inverse,
                        zero,
                        maxCode,
                        targets,
                        targetsFrom + i,
                        errors,
                        errorsFrom + i)
                && !large.anyTrue();
    }

    @Override
    public boolean stepAcross(
            MemorySegment weights,
            long at,
            int count,
            float[] inverse,
            float[] zero,
            int from,
            float maxCode,
            float[] targets,
            int targetsFrom,
            float[] errors,
            int errorsFrom) {
        VectorMask<Float> large = F32.maskAll(false);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector weight = load(weights, at + i);
            FloatVector inverses = FloatVector.fromArray(F32, inverse, from + i);
            FloatVector zeros = FloatVector.fromArray(F32, zero, from + i);
            FloatVector scaled = weight.mul(inverses);
            FloatVector code = code(scaled.add(zeros), maxCode);
            FloatVector error = weight.sub(code.sub(zeros).div(inverses)).abs();
            error.intoArray(errors, errorsFrom + i);
            code.sub(scaled).intoArray(targets, targetsFrom + i);
            large = large.or(error.compare(VectorOperators.GT, ProximalShrink.SURELY_ZERO));
        }
        return scalar.stepAcross(
                        weights,
                        at + i,
                        count - i,
                        inverse,
                        zero,
                        from + i,
                        maxCode,
                        targets,
                        targetsFrom + i,
                        errors,
                        errorsFrom + i)
                && !large.anyTrue();
    }

    @Override
    public void codes(
            MemorySegment weights,
            long at,
            int count,
            float inverse,
            float zero,
            float maxCode,
            int shift,
            int[] words,
            int wordsFrom) {
        FloatVector inverses = FloatVector.broadcast(F32, inverse);
        FloatVector zeros = FloatVector.broadcast(F32, zero);
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector scaled = load(weights, at + i).mul(inverses);
            FloatVector code = code(scaled.add(zeros), maxCode);
            insert(code, shift, words, wordsFrom + i);
        }
        scalar.codes(weights, at + i, count - i, inverse, zero, maxCode, shift, words, wordsFrom + i);
    }

    @Override
    public void codesAcross(
            MemorySegment weights,
            long at,
            int count,
            float[] inverse,
            float[] zero,
            int from,
            float maxCode,
            int shift,
            int[] words,
            int wordsFrom) {
        int i = 0;
        for (; i <= count - LANES; i += LANES) {
            FloatVector scaled = load(weights, at + i).mul(FloatVector.fromArray(F32, inverse, from + i));
            FloatVector code = code(scaled.add(FloatVector.fromArray(F32, zero, from + i)), maxCode);
            insert(code, shift, words, wordsFrom + i);
        }
        scalar.codesAcross(weights, at + i, count - i, inverse, zero, from + i, maxCode, shift, words, wordsFrom + i);
    }

    private static void insert(FloatVector code, int shift, int[] words, int at) {
        IntVector bits = (IntVector) code.convertShape(VectorOperators.F2I, I32, 0);
        IntVector.fromArray(I32, words, at).or(bits.lanewise(VectorOperators.LSHL, shift)).intoArray(words, at);
    }

    @Override
    public void sumRows(float[] values, int from, int rows, float[] lanes) {
        for (int lane = 0; lane < CascadeSum.ROW; lane += LANES) {
            FloatVector sum = FloatVector.zero(F32);
            for (int row = 0; row < rows; row++) {
                sum = sum.add(FloatVector.fromArray(F32, values, from + row * CascadeSum.ROW + lane));
            }
            sum.intoArray(lanes, lane);
        }
    }

    @Override
    public void means(float[] values, int groupSize, int groups, float[] means, int meansFrom, float[] scratch) {
        int rows = groupSize / CascadeSum.ROW;
        int group = 0;
        for (; group <= groups - LANES; group += LANES) {
            for (int k = 0; k < LANES; k++) {
                int from = (group + k) * groupSize;
                for (int lane = 0; lane < CascadeSum.ROW; lane += LANES) {
                    FloatVector sum = FloatVector.zero(F32);
                    for (int row = 0; row < rows; row++) {
                        sum = sum.add(FloatVector.fromArray(F32, values, from + row * CascadeSum.ROW + lane));
                    }
                    sum.intoArray(scratch, lane);
                }
                for (int lane = 0; lane < 8; lane += OCTET.length()) {
                    FloatVector.fromArray(OCTET, scratch, lane)
                            .add(FloatVector.fromArray(OCTET, scratch, 8 + lane))
                            .add(FloatVector.fromArray(OCTET, scratch, 16 + lane))
                            .add(FloatVector.fromArray(OCTET, scratch, 24 + lane))
                            .intoArray(scratch, CascadeSum.ROW + 8 * k + lane);
                }
            }
            FloatVector sum = FloatVector.zero(F32);
            for (int lane = 0; lane < 8; lane++) {
                sum = sum.add(FloatVector.fromArray(F32, scratch, CascadeSum.ROW + lane, EVERY_EIGHTH, 0));
            }
            sum.div((float) groupSize).intoArray(means, meansFrom + group);
        }
        scalar.means(values, group * groupSize, groupSize, groups - group, means, meansFrom + group, scratch);
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

    /// Clamped by comparison: min and max of floats order zeros and NaN, which costs and is not needed.
    private static FloatVector code(FloatVector level, float maxCode) {
        return level.blend(0f, level.lt(0f))
                .blend(maxCode, level.compare(VectorOperators.GT, maxCode))
                .add(ROUND)
                .sub(ROUND);
    }

    private static FloatVector load(MemorySegment weights, long at) {
        return FloatVector.fromMemorySegment(F32, weights, 4 * at, ByteOrder.LITTLE_ENDIAN);
    }
}
