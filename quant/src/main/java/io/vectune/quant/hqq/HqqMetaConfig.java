package io.vectune.quant.hqq;

/// How the scales, or the zero points, of a weight are themselves stored.
public sealed interface HqqMetaConfig {
    /// As floats of the compute type.
    HqqMetaConfig PLAIN = new Plain();

    /// In groups of 128 on axis 0, 8 bit: what hqq does with `quant_scale=True`.
    HqqMetaConfig GROUPS_OF_128 = new Grouped(128, 0);

    /// One scale and zero point for all, 8 bit: what hqq does with `quant_zero=True`.
    HqqMetaConfig PER_TENSOR = new PerTensor();

    /// Floats.
    record Plain() implements HqqMetaConfig {}

    /// 8-bit codes with one scale and zero point a group, without the optimizer.
    ///
    /// @param groupSize divides the number of groups of the weight
    /// @param axis of these groups, over the values as a column (axis 1 of the weight) or a row (axis 0)
    record Grouped(int groupSize, int axis) implements HqqMetaConfig {}

    /// 8-bit codes with a single scale and zero point.
    record PerTensor() implements HqqMetaConfig {}
}
