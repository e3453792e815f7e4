package io.vectune.quant.bnb;

import java.lang.foreign.MemorySegment;

/// The kernels of 4-bit weights, one implementation a tier.
interface FourBitKernels {
    /// Decodes `count` elements of the flattened weight from `element` on.
    void decode(FourBitWeight weight, long element, int count, float[] tile, int tileOffset);

    /// The most tokens for [#multiply]; 0 where decode-and-GEMM is always better.
    int fewTokens(int inFeatures);

    /// Brings one row of x into the order that [#multiply] reads.
    void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int preparedOffset);

    /// y = W x for rows `[rowFrom, rowTo)` and one prepared row of x.
    ///
    /// @param y f32, row `rowFrom` goes to byte `yOffset`
    void multiply(
            FourBitWeight weight, int rowFrom, int rowTo, float[] prepared, int from, MemorySegment y, long yOffset);

    /// The absmax of `[from, to)`; NaN if one of the values is NaN.
    float absmax(float[] values, int from, int to);

    /// The codes of `[from, to)`: values scaled by `inverse` or, for a block that is not full, divided by `absmax`.
    void codes(Codebook codebook, float[] values, int from, int to, float absmax, boolean full, byte[] codes);
}
