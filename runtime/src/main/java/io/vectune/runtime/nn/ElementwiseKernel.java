package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One thread's part of [Elementwise].
interface ElementwiseKernel {
    /// Rows `[rowFrom, rowTo)` of y += alpha x.
    void addScaled(float alpha, Matrix x, Matrix y, int rowFrom, int rowTo);

    /// Rows `[rowFrom, rowTo)` of y *= alpha.
    void scale(float alpha, Matrix y, int rowFrom, int rowTo);

    /// Rows `[rowFrom, rowTo)` of y += bias.
    void addBias(Matrix bias, Matrix y, int rowFrom, int rowTo);

    /// Columns `[columnFrom, columnTo)` of sums += the sum of the rows of x.
    void addColumnSums(Matrix x, Matrix sums, int columnFrom, int columnTo);

    /// The sum of squares of all elements.
    double sumOfSquares(Matrix x);

    /// The kernel of the active tier.
    static ElementwiseKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new ElementwiseScalar() : new ElementwiseVector();
    }
}
