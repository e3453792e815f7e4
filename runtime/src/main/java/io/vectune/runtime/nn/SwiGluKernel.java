package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One thread's part of [SwiGlu].
interface SwiGluKernel {
    /// Length of the scratch that a kernel needs.
    int SCRATCH = 1024;

    /// Rows `[rowFrom, rowTo)` of y.
    void forward(Matrix gate, Matrix up, Matrix y, float[] scratch, int rowFrom, int rowTo);

    /// Rows `[rowFrom, rowTo)` of gradGate and gradUp.
    void backward(
            Matrix gate,
            Matrix up,
            Matrix gradY,
            Matrix gradGate,
            Matrix gradUp,
            float[] scratch,
            int rowFrom,
            int rowTo);

    /// The kernel of the active tier.
    static SwiGluKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new SwiGluScalar() : new SwiGluVector();
    }
}
