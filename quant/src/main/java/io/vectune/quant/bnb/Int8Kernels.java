package io.vectune.quant.bnb;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;

/// The kernels of int8 weights, one implementation a tier.
interface Int8Kernels {
    /// tile[i] = (code[i] * absmax) * (1 / 127), for `count` codes from byte `offset`.
    void decode(MemorySegment codes, long offset, int count, float absmax, float[] tile, int tileOffset);

    /// The sum of `count` codes from byte `offset` times x.
    float dot(MemorySegment codes, long offset, int count, float[] x, int xOffset);

    /// Brings one row of x into the order that [#multiply] reads.
    void prepare(MemorySegment x, long offset, int inFeatures, float[] prepared, int preparedOffset);

    /// y = W x for rows `[rowFrom, rowTo)` and `tokens` prepared rows of x.
    void multiply(Int8Weight weight, int rowFrom, int rowTo, float[] prepared, int tokens, Matrix y);
}
