package io.vectune.quant.hqq;

import io.vectune.runtime.compute.KernelTier;
import java.lang.foreign.MemorySegment;

/// Dequantization of codes, and their fused product with a few rows of input.
///
///     W[f] = RN(RN(code[f] - zeroPoint[group of f]) * scale[group of f])      RN: rounding to the compute type
///
/// Two roundings, no fused multiply-add: the same bits as hqq's dequantize. Ranges of elements are contiguous in
/// row-major order and stay within one row of the weight for products; checks are the caller's.
interface HqqKernels {
    /// The kernels of the active tier.
    HqqKernels ACTIVE = KernelTier.active() == KernelTier.VECTOR ? new HqqVectorKernels() : new HqqScalarKernels();

    /// Writes W[flat, flat + count) to `to[at, at + count)`.
    void decode(HqqCodes codes, long flat, int count, float[] to, int at);

    /// The products of one row of W with `tokens` rows of input:
    ///
    ///     y[token] = sum_i W[flat + i] * x[token * count + i]        for i < count
    ///
    /// f32 sums with fused multiply-add, in an order that depends on the vector width only.
    ///
    /// @param y written at byte `yOffset + token * yTokenBytes`
    void multiplyRow(
            HqqCodes codes,
            long flat,
            int count,
            float[] x,
            int tokens,
            MemorySegment y,
            long yOffset,
            long yTokenBytes);
}
