package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// One thread's part of [LayerNorm].
interface LayerNormKernel {
    /// Length of `lanes`, the scratch that sums of vectors pass through.
    int LANES = 16;

    /// Rows `[rowFrom, rowTo)` of y and statistics.
    void forward(
            Matrix x,
            Matrix weight,
            Matrix bias,
            float eps,
            Matrix y,
            @Nullable Matrix statistics,
            float[] lanes,
            int rowFrom,
            int rowTo);

    /// Rows `[rowFrom, rowTo)` of gradX.
    void backward(
            Matrix x,
            Matrix weight,
            Matrix statistics,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            float[] lanes,
            int rowFrom,
            int rowTo);

    /// Columns `[columnFrom, columnTo)` of gradWeight, added to.
    void gradWeight(Matrix x, Matrix statistics, Matrix gradY, Matrix gradWeight, int columnFrom, int columnTo);

    /// The kernel of the active tier.
    static LayerNormKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new LayerNormScalar() : new LayerNormVector();
    }
}
