package io.vectune.quant.hqq;

import io.vectune.runtime.compute.KernelTier;
import java.lang.foreign.MemorySegment;

/// The inner loops of the HQQ quantizer. Each operation rounds once to f32; nothing is fused, so that results have the
/// bits of torch's elementwise operations. `inverse` is the inverse of the scale.
///
///     code = clamp(RNE(RN(RN(W * inverse) + zero)), 0, maxCode)
///     error = |RN(W - RN(RN(code - zero) / inverse))|
///     target = RN(code - RN(W * inverse))
///
/// The mean of the target over a group is its next zero point, as long as no error needs the shrinkage of
/// [ProximalShrink]. Weights are f32 in a segment, addressed by element index. A row is 32 values (see [CascadeSum]).
interface SolverKernels {
    /// The kernels of the active tier.
    SolverKernels ACTIVE =
            KernelTier.active() == KernelTier.VECTOR ? new VectorSolverKernels() : new ScalarSolverKernels();

    /// Widens `[minMax[0], minMax[1]]` by the weights `[at, at + count)`.
    ///
    /// @return whether all are finite
    boolean range(MemorySegment weights, long at, int count, float[] minMax);

    /// Widens `[min[i], max[i]]` by the weight `at + i`.
    ///
    /// @return whether all are finite
    boolean rangeAcross(MemorySegment weights, long at, int count, float[] min, float[] max, int from);

    /// Errors and targets of weights with levels of their own: weight `at + i` has those of `from + i`.
    ///
    /// @return whether all errors surely shrink to zero ([ProximalShrink#SURELY_ZERO])
    boolean step(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int from,
            float[] targets,
            int targetsFrom,
            float[] errors,
            int errorsFrom);

    /// The ranges of groups of whole rows in an array.
    ///
    /// @param weights [groups][groupSize]
    /// @return whether all weights are finite; if not, the ranges have no meaning
    boolean ranges(float[] weights, int groupSize, int groups, float[] min, float[] max);

    /// Errors and targets of some groups of whole rows, of weights in an array.
    ///
    ///     targets[k * groupSize + i], errors[g * groupSize + i]     of weight i of group g = groups[k]
    ///
    /// @param weights [groups][groupSize]
    /// @param groups `count` indices; the levels of group g are those of `firstGroup + g`
    /// @return whether all errors surely shrink to zero
    boolean stepGroups(
            float[] weights,
            int groupSize,
            int[] groups,
            int count,
            GroupLevels levels,
            int firstGroup,
            float[] targets,
            float[] errors);

    /// The targets of weights whose error may shrink to more than zero; the others stay.
    ///
    ///     target = RN(code - RN(RN(W - shrink(RN(W - RN(RN(code - zero) / inverse)))) * inverse))
    ///
    /// @param powers scratch, [#POWER_SCRATCH] times as long as `errors`
    void shrink(
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
            float[] powers);

    int POWER_SCRATCH = 5;

    /// `words[wordsFrom + i] |= code(at + i) << shift` for weights of one group.
    void codes(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int group,
            int shift,
            int[] words,
            int wordsFrom);

    /// As [#codes] for weights of as many groups.
    void codesAcross(
            MemorySegment weights,
            long at,
            int count,
            GroupLevels levels,
            int from,
            int shift,
            int[] words,
            int wordsFrom);

    /// Sums `rows` rows of 32 lanes, first to last, starting from zero.
    void sumRows(float[] values, int from, int rows, float[] lanes, int lanesFrom);

    /// Adds rows of 32 lanes to `lanes`, first to last.
    void addRows(float[] values, int from, int rows, float[] lanes, int lanesFrom);

    /// `to[toFrom + i] += values[from + i]`.
    void add(float[] values, int from, int count, float[] to, int toFrom);

    /// Means of groups that follow each other, in the order of [CascadeSum]: `means[meansFrom + k]` is that of
    /// `values[k * groupSize, (k + 1) * groupSize)`.
    ///
    /// @param groupSize a multiple of 32 up to [#LARGEST_SHORT_GROUP], so that one level of the cascade takes it all
    /// @param scratch at least [#MEANS_SCRATCH] long
    void means(float[] values, int groupSize, int groups, float[] means, int meansFrom, float[] scratch);

    /// 16 rows of 32 lanes.
    int LARGEST_SHORT_GROUP = 512;

    int MEANS_SCRATCH = CascadeSum.ROW + 17 * CascadeSum.VECTOR;
}
