package io.vectune.quant.hqq;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;

/// How to quantize a weight with HQQ.
///
/// @param bits code width
/// @param groupSize weights that share a scale and a zero point; [#CHANNEL] for one group an output row (axis 1) or one
///   group an input column (axis 0)
/// @param axis 1: groups along inFeatures; 0: groups along outFeatures
/// @param optimize whether the half-quadratic solver refines the zero points
/// @param roundZero whether the zero point the solver starts from is rounded; hqq does so for 4 bits
/// @param kappaSchedule whether the solver's beta grows by 1.01 a step, as in hqq up to 0.2.6; constant since 0.2.7
/// @param computeDtype type of the stored scales and zero points and of the arithmetic of dequantization: F32, F16 or
///   BF16
/// @param scaleMeta how the scales are stored
/// @param zeroMeta how the zero points are stored
/// @param viewAsFloat whether files show the packed words as floats of the compute type
public record HqqConfig(
        HqqBits bits,
        int groupSize,
        int axis,
        boolean optimize,
        boolean roundZero,
        boolean kappaSchedule,
        DType computeDtype,
        HqqMetaConfig scaleMeta,
        HqqMetaConfig zeroMeta,
        boolean viewAsFloat) {
    /// No grouping: one group a channel.
    public static final int CHANNEL = 0;

    public HqqConfig {
        if (groupSize < 0) {
            throw new VectuneException("group size: expected a positive number or none, found " + groupSize);
        }
        if (axis != 0 && axis != 1) {
            throw new VectuneException("axis: expected 0 or 1, found " + axis);
        }
        if (computeDtype != DType.F32 && computeDtype != DType.F16 && computeDtype != DType.BF16) {
            throw new VectuneException("compute type: expected F32, F16 or BF16, found " + computeDtype);
        }
    }

    /// The library's defaults for a width: optimizer on, zero point rounded at 4 bits only, plain metadata, F32.
    ///
    /// @param groupSize a positive number, or [#CHANNEL]
    public static HqqConfig of(HqqBits bits, int groupSize, int axis) {
        return new HqqConfig(
                bits,
                groupSize,
                axis,
                true,
                bits == HqqBits.FOUR,
                false,
                DType.F32,
                HqqMetaConfig.PLAIN,
                HqqMetaConfig.PLAIN,
                false);
    }

    public HqqConfig withGroups(int size, int newAxis) {
        return new HqqConfig(
                bits,
                size,
                newAxis,
                optimize,
                roundZero,
                kappaSchedule,
                computeDtype,
                scaleMeta,
                zeroMeta,
                viewAsFloat);
    }

    public HqqConfig withComputeDtype(DType type) {
        return new HqqConfig(
                bits, groupSize, axis, optimize, roundZero, kappaSchedule, type, scaleMeta, zeroMeta, viewAsFloat);
    }

    public HqqConfig withOptimize(boolean on) {
        return new HqqConfig(
                bits, groupSize, axis, on, roundZero, kappaSchedule, computeDtype, scaleMeta, zeroMeta, viewAsFloat);
    }

    public HqqConfig withRoundZero(boolean on) {
        return new HqqConfig(
                bits, groupSize, axis, optimize, on, kappaSchedule, computeDtype, scaleMeta, zeroMeta, viewAsFloat);
    }

    public HqqConfig withMeta(HqqMetaConfig scale, HqqMetaConfig zero) {
        return new HqqConfig(
                bits, groupSize, axis, optimize, roundZero, kappaSchedule, computeDtype, scale, zero, viewAsFloat);
    }

    public HqqConfig withViewAsFloat(boolean on) {
        return new HqqConfig(
                bits, groupSize, axis, optimize, roundZero, kappaSchedule, computeDtype, scaleMeta, zeroMeta, on);
    }

    /// Where the codes of a weight of that shape lie.
    ///
    /// @throws VectuneException if the group size does not fit the shape
    public HqqGeometry geometry(int outFeatures, int inFeatures) {
        int size = groupSize != CHANNEL ? groupSize : axis == 1 ? inFeatures : outFeatures;
        return new HqqGeometry(outFeatures, inFeatures, size, axis, bits.packing());
    }
}
