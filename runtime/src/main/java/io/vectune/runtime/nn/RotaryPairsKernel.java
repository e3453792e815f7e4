package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One thread's part of [RotaryPairs].
interface RotaryPairsKernel {
    /// Rotates the heads of the rows `[rowFrom, rowTo)` in place.
    ///
    /// @param cosines (rows, headDim), each one twice
    /// @param sines (rows, headDim), each one twice, the first time negative
    void rotate(Matrix x, int headDim, float[] cosines, float[] sines, boolean inverse, int rowFrom, int rowTo);

    /// The kernel of the active tier.
    static RotaryPairsKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new RotaryPairsScalar() : new RotaryPairsVector();
    }
}
