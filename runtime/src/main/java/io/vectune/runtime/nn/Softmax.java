package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// Softmax of the rows of a matrix.
///
///     y_c = exp(x_c - max(x)) / sum_d exp(x_d - max(x))
public final class Softmax {
    private Softmax() {}

    /// Replaces every row by its softmax.
    public static void apply(Compute compute, Matrix x) {
        RowTasks.take(compute).softmax(x);
    }
}
