package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// Softmax of the rows of a matrix.
///
///     y_c = exp(x_c - max(x)) / sum_d exp(x_d - max(x))
public final class Softmax {
    private static final SoftmaxKernel KERNEL = SoftmaxKernel.active();

    private Softmax() {}

    /// Replaces every row by its softmax.
    public static void apply(Compute compute, Matrix x) {
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) -> {
                            float[] scratch = compute.scratch(worker, 0, SoftmaxKernel.SCRATCH);
                            for (int row = from; row < to; row++) {
                                KERNEL.softmax(x, row, scratch);
                            }
                        });
    }
}
