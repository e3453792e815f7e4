package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// One gate for all rows of a matrix: the gated residual of adaptive layer norm (Peebles & Xie, arXiv 2212.09748).
///
///     y += gate ⊙ x      for each row; gate (1, n), x and y (tokens, n)
public final class RowGate {
    private static final RowGateKernel KERNEL = RowGateKernel.active();
    private static final int MIN_COLUMNS = 64;

    private RowGate() {}

    /// y = residual + gate ⊙ x; y may be residual or x.
    public static void add(Compute compute, Matrix gate, Matrix x, Matrix residual, Matrix y) {
        Shapes.require("gate", gate, 1, x.columns());
        Shapes.requireSame("residual", residual, x);
        Shapes.requireSame("y", y, x);
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) -> KERNEL.add(gate, x, residual, y, from, to));
    }

    /// y = gate ⊙ x: the gradient of what was gated; y may be x.
    public static void multiply(Compute compute, Matrix gate, Matrix x, Matrix y) {
        Shapes.require("gate", gate, 1, x.columns());
        Shapes.requireSame("y", y, x);
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) -> KERNEL.multiply(gate, x, y, from, to));
    }

    /// sums (1, n) += the column sums of a ⊙ b, over the rows in their order: the gradient of the gate.
    public static void addColumnProducts(Compute compute, Matrix a, Matrix b, Matrix sums) {
        Shapes.requireSame("b", b, a);
        Shapes.require("sums", sums, 1, a.columns());
        compute.team()
                .run(
                        a.columns(),
                        Math.max(MIN_COLUMNS, Shapes.minRows(a.rows())),
                        (from, to, worker) -> KERNEL.addColumnProducts(a, b, sums, from, to));
    }
}
