package io.vectune.quant.hqq;

import io.vectune.runtime.compute.KernelTier;

/// Dequantization of codes.
///
///     W[f] = RN(RN(code[f] - zeroPoint[group of f]) * scale[group of f])      RN: rounding to the compute type
///
/// Two roundings, no fused multiply-add: the same bits as hqq's dequantize. Ranges of elements are contiguous in
/// row-major order; checks are the caller's.
interface HqqKernels {
    /// The kernels of the active tier.
    HqqKernels ACTIVE = KernelTier.active() == KernelTier.VECTOR ? new HqqVectorKernels() : new HqqScalarKernels();

    /// Writes W[flat, flat + count) to `to[at, at + count)`.
    void decode(HqqCodes codes, long flat, int count, float[] to, int at);
}
