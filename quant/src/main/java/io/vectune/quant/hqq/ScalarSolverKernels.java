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
            GroupLevels levels,
            int from,
            float[] targets,
            int targetsFrom,
            float[] errors,
            int errorsFrom) {
        boolean small = true;
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            float inverse = levels.inverse()[from + i];
            float zero = levels.zero()[from + i];
            float code = code(weight, inverse, zero, levels.maxCode());
            float error = Math.abs(weight - (code - zero) / inverse);
            errors[errorsFrom + i] = error;
            targets[targetsFrom + i] = code - weight * inverse;
            small &= error <= ProximalShrink.SURELY_ZERO;
        }
        return small;
    }

    @Override
    public boolean ranges(float[] weights, int groupSize, int groups, float[] min, float[] max) {
        boolean finite = true;
        for (int group = 0; group < groups; group++) {
            min[group] = Float.POSITIVE_INFINITY;
            max[group] = Float.NEGATIVE_INFINITY;
            for (int i = group * groupSize; i < (group + 1) * groupSize; i++) {
                finite &= Float.isFinite(weights[i]);
                min[group] = Math.min(min[group], weights[i]);
                max[group] = Math.max(max[group], weights[i]);
            }
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
        boolean small = true;
        for (int k = 0; k < count; k++) {
            int from = groups[k] * groupSize;
            float inverse = levels.inverse()[firstGroup + groups[k]];
            float zero = levels.zero()[firstGroup + groups[k]];
            for (int i = 0; i < groupSize; i++) {
                float weight = weights[from + i];
                float code = code(weight, inverse, zero, levels.maxCode());
                float error = Math.abs(weight - (code - zero) / inverse);
                errors[from + i] = error;
                targets[k * groupSize + i] = code - weight * inverse;
                small &= error <= ProximalShrink.SURELY_ZERO;
            }
        }
        return small;
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
        for (int i = 0; i < count; i++) {
            if (errors[errorsFrom + i] > ProximalShrink.SURELY_ZERO) {
                targets[targetsFrom + i] = shrunkTarget(weights, at + i, levels, from + i, inverseBeta, false);
            }
        }
    }

    /// The target of one weight, whatever its error.
    ///
    /// @param tail whether torch computes the element outside its vector loop
    static float shrunkTarget(
            MemorySegment weights, long at, GroupLevels levels, int group, float inverseBeta, boolean tail) {
        float weight = weights.get(Tensor.FLOAT, 4 * at);
        float inverse = levels.inverse()[group];
        float zero = levels.zero()[group];
        float code = code(weight, inverse, zero, levels.maxCode());
        float error = weight - (code - zero) / inverse;
        float kept = weight - ProximalShrink.shrink(error, inverseBeta, tail);
        return code - kept * inverse;
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
        float inverse = levels.inverse()[group];
        float zero = levels.zero()[group];
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            words[wordsFrom + i] |= (int) code(weight, inverse, zero, levels.maxCode()) << shift;
        }
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
        for (int i = 0; i < count; i++) {
            float weight = weights.get(Tensor.FLOAT, 4 * (at + i));
            float code = code(weight, levels.inverse()[from + i], levels.zero()[from + i], levels.maxCode());
            words[wordsFrom + i] |= (int) code << shift;
        }
    }

    @Override
    public void sumRows(float[] values, int from, int rows, float[] lanes, int lanesFrom) {
        Arrays.fill(lanes, lanesFrom, lanesFrom + CascadeSum.ROW, 0f);
        addRows(values, from, rows, lanes, lanesFrom);
    }

    @Override
    public void addRows(float[] values, int from, int rows, float[] lanes, int lanesFrom) {
        for (int row = 0; row < rows; row++) {
            for (int lane = 0; lane < CascadeSum.ROW; lane++) {
                lanes[lanesFrom + lane] += values[from + row * CascadeSum.ROW + lane];
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
        for (int group = 0; group < groups; group++) {
            sumRows(values, group * groupSize, groupSize / CascadeSum.ROW, scratch, 0);
            float sum = 0;
            for (int lane = 0; lane < CascadeSum.VECTOR; lane++) {
                sum += scratch[lane] + scratch[8 + lane] + scratch[16 + lane] + scratch[24 + lane];
            }
            means[meansFrom + group] = sum / groupSize;
        }
    }
}
