package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// Sums, scalings and norms of matrices.
public final class Elementwise {
    private static final ElementwiseKernel KERNEL = ElementwiseKernel.active();
    private static final int MIN_COLUMNS = 64;

    private Elementwise() {}

    /// y += x.
    public static void add(Compute compute, Matrix x, Matrix y) {
        addScaled(compute, 1, x, y);
    }

    /// y += alpha x, fused.
    public static void addScaled(Compute compute, float alpha, Matrix x, Matrix y) {
        Shapes.requireSame("x", x, y);
        RowTasks.take(compute).addScaled(alpha, x, y);
    }

    /// y *= alpha.
    public static void scale(Compute compute, float alpha, Matrix y) {
        RowTasks.take(compute).scale(alpha, y);
    }

    /// Adds bias (1, columns) to every row of y.
    public static void addBias(Compute compute, Matrix bias, Matrix y) {
        Shapes.require("bias", bias, 1, y.columns());
        RowTasks.take(compute).addBias(bias, y);
    }

    /// gradBias (1, columns) += the column sums of gradY, over the rows in their order.
    public static void addColumnSums(Compute compute, Matrix gradY, Matrix gradBias) {
        Shapes.require("gradBias", gradBias, 1, gradY.columns());
        compute.team()
                .run(
                        gradY.columns(),
                        Math.max(MIN_COLUMNS, Shapes.minRows(gradY.rows())),
                        (from, to, worker) -> KERNEL.addColumnSums(gradY, gradBias, from, to));
    }

    /// The sum of squares of all elements in double, in a fixed order.
    public static double sumOfSquares(Matrix x) {
        return KERNEL.sumOfSquares(x);
    }

    /// The L2 norm of all elements of all matrices, in double, in a fixed order.
    public static double norm(Iterable<Matrix> matrices) {
        double sum = 0;
        for (Matrix matrix : matrices) {
            sum += sumOfSquares(matrix);
        }
        return Math.sqrt(sum);
    }
}
