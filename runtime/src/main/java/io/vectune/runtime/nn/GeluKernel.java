package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One thread's part of [Gelu].
interface GeluKernel {
    /// Length of the scratch that a kernel needs.
    int SCRATCH = 1024;

    /// Rows `[rowFrom, rowTo)` of y.
    void forward(Matrix x, Matrix y, float[] scratch, int rowFrom, int rowTo);

    /// Rows `[rowFrom, rowTo)` of gradX.
    void backward(Matrix x, Matrix gradY, Matrix gradX, float[] scratch, int rowFrom, int rowTo);

    /// The kernel of the active tier.
    static GeluKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new GeluScalar() : new GeluVector();
    }
}
