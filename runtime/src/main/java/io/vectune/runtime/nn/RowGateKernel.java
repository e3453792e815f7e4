package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;

/// One thread's part of [RowGate].
interface RowGateKernel {
    /// Rows `[rowFrom, rowTo)` of y = residual + gate ⊙ x.
    void add(Matrix gate, Matrix x, Matrix residual, Matrix y, int rowFrom, int rowTo);

    /// Rows `[rowFrom, rowTo)` of y = gate ⊙ x.
    void multiply(Matrix gate, Matrix x, Matrix y, int rowFrom, int rowTo);

    /// Columns `[columnFrom, columnTo)` of sums += the column sums of a ⊙ b.
    void addColumnProducts(Matrix a, Matrix b, Matrix sums, int columnFrom, int columnTo);

    /// The kernel of the active tier.
    static RowGateKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new RowGateScalar() : new RowGateVector();
    }
}
