package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// Root-mean-square normalization of rows (Zhang & Sennrich, arXiv 1910.07467), as the Llama family uses it.
///
///     inverseRms = 1 / sqrt(mean_i(x_i^2) + eps)
///     y_i        = weight_i * (x_i * inverseRms)
///
/// Shapes: x, y, gradients (tokens, n); weight (1, n); inverseRms (tokens, 1). For the per-head norms of queries and
/// keys, view (tokens, heads * headDim) as (tokens * heads, headDim).
public final class RmsNorm {
    private static final RmsNormKernel KERNEL = RmsNormKernel.active();
    private static final int MIN_COLUMNS = 64;

    private RmsNorm() {}

    /// Normalizes the rows of x; y may be x.
    ///
    /// @param inverseRms (tokens, 1), kept for [#backward]; null in inference
    public static void forward(
            Compute compute, Matrix x, Matrix weight, float eps, Matrix y, @Nullable Matrix inverseRms) {
        Shapes.require("weight", weight, 1, x.columns());
        Shapes.requireSame("y", y, x);
        if (inverseRms == null) {
            RowTasks.take(compute).norm(x, weight, eps, y);
        } else {
            Shapes.require("inverseRms", inverseRms, x.rows(), 1);
            RowTasks.take(compute).norm(x, weight, eps, y, inverseRms);
        }
    }

    /// The gradient with respect to x, and that of the weight if it is trained.
    ///
    ///     s          = sum_i weight_i gradY_i x_i
    ///     gradX_i  (+)= inverseRms * weight_i gradY_i - x_i * s * inverseRms^3 / n
    ///     gradWeight_i += sum over tokens of gradY_i x_i inverseRms
    ///
    /// @param gradX (tokens, n); may be gradY if `accumulate` is false and gradWeight is null
    /// @param accumulate adds to gradX, otherwise it is overwritten
    /// @param gradWeight (1, n), added to; null if the weight is frozen
    public static void backward(
            Compute compute,
            Matrix x,
            Matrix weight,
            Matrix inverseRms,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            @Nullable Matrix gradWeight) {
        Shapes.require("weight", weight, 1, x.columns());
        Shapes.require("inverseRms", inverseRms, x.rows(), 1);
        Shapes.requireSame("gradY", gradY, x);
        Shapes.requireSame("gradX", gradX, x);
        RowTasks.take(compute).normBackward(x, weight, inverseRms, gradY, gradX, accumulate);
        if (gradWeight != null) {
            Shapes.require("gradWeight", gradWeight, 1, x.columns());
            compute.team()
                    .run(
                            x.columns(),
                            Math.max(MIN_COLUMNS, Shapes.minRows(x.rows())),
                            (from, to, worker) -> KERNEL.gradWeight(x, inverseRms, gradY, gradWeight, from, to));
        }
    }
}
