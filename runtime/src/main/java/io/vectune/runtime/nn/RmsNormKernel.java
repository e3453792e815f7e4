package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// One thread's part of [RmsNorm].
interface RmsNormKernel {
    /// Length of `lanes`, the scratch that sums of vectors pass through.
    int LANES = 16;

    /// Rows `[rowFrom, rowTo)` of y and, unless null, of inverseRms.
    void forward(
            Matrix x,
            Matrix weight,
            float eps,
            Matrix y,
            @Nullable Matrix inverseRms,
            float[] lanes,
            int rowFrom,
            int rowTo);

    /// Rows `[rowFrom, rowTo)` of gradX.
    void backward(
            Matrix x,
            Matrix weight,
            Matrix inverseRms,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            float[] lanes,
            int rowFrom,
            int rowTo);

    /// Columns `[columnFrom, columnTo)` of gradWeight, summed over the rows in their order.
    void gradWeight(Matrix x, Matrix inverseRms, Matrix gradY, Matrix gradWeight, int columnFrom, int columnTo);

    /// The kernel of the active tier.
    static RmsNormKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new RmsNormScalar() : new RmsNormVector();
    }
}
