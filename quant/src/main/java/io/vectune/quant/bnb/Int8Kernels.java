package io.vectune.quant.bnb;

import java.lang.foreign.MemorySegment;

/// The kernels of int8 weights, one implementation a tier.
interface Int8Kernels {
    /// tile[i] = (code[i] * absmax) * (1 / 127), for `count` codes from byte `offset`.
    void decode(MemorySegment codes, long offset, int count, float absmax, float[] tile, int tileOffset);

    /// The sum of `count` codes from byte `offset` times x.
    float dot(MemorySegment codes, long offset, int count, float[] x, int xOffset);
}
