package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// Layer normalization of rows (Ba, Kiros & Hinton, arXiv 1607.06450) with weight and bias; the adaptive form of
/// diffusion transformers has weight = 1 + scale and bias = shift, made from the conditioning.
///
///     mean = mean_i(x_i),  inverse = 1 / sqrt(mean_i((x_i - mean)^2) + eps)
///     y_i  = weight_i * (x_i - mean) * inverse + bias_i
///
/// Shapes: x, y, gradients (tokens, n); weight, bias (1, n); statistics (tokens, 2): mean and inverse. Sums are
/// accumulated in double.
public final class LayerNorm {
    private static final LayerNormKernel KERNEL = LayerNormKernel.active();
    private static final int MIN_COLUMNS = 64;

    private LayerNorm() {}

    /// Normalizes the rows of x; y may be x if no backward follows.
    ///
    /// @param statistics (tokens, 2), kept for [#backward]; null in inference
    public static void forward(
            Compute compute, Matrix x, Matrix weight, Matrix bias, float eps, Matrix y, @Nullable Matrix statistics) {
        Shapes.require("weight", weight, 1, x.columns());
        Shapes.require("bias", bias, 1, x.columns());
        Shapes.requireSame("y", y, x);
        if (statistics != null) {
            Shapes.require("statistics", statistics, x.rows(), 2);
        }
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) ->
                                KERNEL.forward(
                                        x,
                                        weight,
                                        bias,
                                        eps,
                                        y,
                                        statistics,
                                        compute.scratch(worker, 0, LayerNormKernel.LANES),
                                        from,
                                        to));
    }

    /// The gradient with respect to x, and those of weight and bias.
    ///
    ///     n_i = (x_i - mean) * inverse,  h_i = weight_i gradY_i
    ///     gradX_i     (+)= inverse * (h_i - mean_j(h_j) - n_i mean_j(h_j n_j))
    ///     gradWeight_i += sum over tokens of gradY_i n_i
    ///     gradBias_i   += sum over tokens of gradY_i
    ///
    /// @param accumulate adds to gradX, otherwise it is overwritten
    /// @param gradWeight (1, n), added to; null if nobody needs it
    /// @param gradBias (1, n), added to; null if nobody needs it
    public static void backward(
            Compute compute,
            Matrix x,
            Matrix weight,
            Matrix statistics,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            @Nullable Matrix gradWeight,
            @Nullable Matrix gradBias) {
        Shapes.require("weight", weight, 1, x.columns());
        Shapes.require("statistics", statistics, x.rows(), 2);
        Shapes.requireSame("gradY", gradY, x);
        Shapes.requireSame("gradX", gradX, x);
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) ->
                                KERNEL.backward(
                                        x,
                                        weight,
                                        statistics,
                                        gradY,
                                        gradX,
                                        accumulate,
                                        compute.scratch(worker, 0, LayerNormKernel.LANES),
                                        from,
                                        to));
        if (gradWeight != null) {
            Shapes.require("gradWeight", gradWeight, 1, x.columns());
            compute.team()
                    .run(
                            x.columns(),
                            Math.max(MIN_COLUMNS, Shapes.minRows(x.rows())),
                            (from, to, worker) -> KERNEL.gradWeight(x, statistics, gradY, gradWeight, from, to));
        }
        if (gradBias != null) {
            Elementwise.addColumnSums(compute, gradY, gradBias);
        }
    }
}
