package io.vectune.quant.hqq;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// The scalar tier of [SolverKernels].
final class ScalarSolverKernels implements SolverKernels {
    /// The code of a weight, as a float.
    static float code(float weight, float inverse, float zero, float maxCode) {
        return (float) Math.rint(Math.clamp(weight * inverse + zero, 0f, maxCode));
    }

    @Override
    public boolean range(MemorySegment weights, long at, int count, float[] minMax) {
        boolean finite = true;
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            finite &= Float.isFinite(weight);
            minMax[0] = Math.min(minMax[0], weight);
            minMax[1] = Math.max(minMax[1], weight);
        }
        return finite;
    }

    @Override
    public boolean rangeAcross(MemorySegment weights, long at, int count, float[] min, float[] max, int from) {
        boolean finite = true;
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            finite &= Float.isFinite(weight);
            min[from + i] = Math.min(min[from + i], weight);
            max[from + i] = Math.max(max[from + i], weight);
        }
        return finite;
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
        boolean small = true;
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            float code = code(weight, inverse, zero, maxCode);
            float error = Math.abs(weight - (code - zero) / inverse);
            errors[errorsFrom + i] = error;
            targets[targetsFrom + i] = code - weight * inverse;
            small &= error <= ProximalShrink.SURELY_ZERO;
        }
        return small;
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
        boolean small = true;
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            float code = code(weight, inverse[from + i], zero[from + i], maxCode);
            float error = Math.abs(weight - (code - zero[from + i]) / inverse[from + i]);
            errors[errorsFrom + i] = error;
            targets[targetsFrom + i] = code - weight * inverse[from + i];
            small &= error <= ProximalShrink.SURELY_ZERO;
        }
        return small;
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
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            words[wordsFrom + i] |= (int) code(weight, inverse, zero, maxCode) << shift;
        }
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
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            words[wordsFrom + i] |= (int) code(weight, inverse[from + i], zero[from + i], maxCode) << shift;
        }
    }

    @Override
    public void sumRows(float[] values, int from, int rows, float[] lanes) {
        Arrays.fill(lanes, 0, CascadeSum.ROW, 0f);
        for (int row = 0; row < rows; row++) {
            for (int lane = 0; lane < CascadeSum.ROW; lane++) {
                lanes[lane] += values[from + row * CascadeSum.ROW + lane];
            }
        }
    }

    @Override
    public void add(float[] values, int from, int count, float[] to, int toFrom) {
        for (int i = 0; i < count; i++) {
            to[toFrom + i] += values[from + i];
        }
    }

    @Override
    public void means(float[] values, int groupSize, int groups, float[] means, int meansFrom, float[] scratch) {
        means(values, 0, groupSize, groups, means, meansFrom, scratch);
    }

    void means(float[] values, int from, int groupSize, int groups, float[] means, int meansFrom, float[] scratch) {
        for (int group = 0; group < groups; group++) {
            sumRows(values, from + group * groupSize, groupSize / CascadeSum.ROW, scratch);
            float sum = 0;
            for (int lane = 0; lane < 8; lane++) {
                sum += scratch[lane] + scratch[8 + lane] + scratch[16 + lane] + scratch[24 + lane];
            }
            means[meansFrom + group] = sum / groupSize;
        }
    }
}
