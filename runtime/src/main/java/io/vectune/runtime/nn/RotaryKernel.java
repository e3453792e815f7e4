package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One thread's part of [RotaryTable].
interface RotaryKernel {
    /// Rotates the heads of the rows `[rowFrom, rowTo)` in place.
    ///
    /// @param cosines (positions, headDim / 2)
    /// @param sines (positions, headDim / 2)
    void rotate(
            Matrix x,
            int headDim,
            float[] cosines,
            float[] sines,
            int[] positions,
            boolean inverse,
            int rowFrom,
            int rowTo);

    /// The kernel of the active tier.
    static RotaryKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new RotaryScalar() : new RotaryVector();
    }
}
