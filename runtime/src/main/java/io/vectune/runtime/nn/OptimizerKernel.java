package io.vectune.runtime.nn;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// One thread's part of [AdamW] and [Sgd].
interface OptimizerKernel {
    /// The kernel of the active tier.
    OptimizerKernel ACTIVE = KernelTier.active() == KernelTier.SCALAR ? new OptimizerScalar() : new OptimizerVector();

    /// Rows `[rowFrom, rowTo)` of an AdamW step.
    void adamW(
            Matrix parameter,
            Matrix gradient,
            Matrix firstMoment,
            Matrix secondMoment,
            float keep,
            float firstRate,
            float secondKeep,
            float secondRate,
            float correction,
            float eps,
            float stepSize,
            int rowFrom,
            int rowTo);

    /// Rows `[rowFrom, rowTo)` of an SGD step.
    void sgd(
            Matrix parameter,
            Matrix gradient,
            @Nullable Matrix momentumBuffer,
            float keep,
            float decay,
            float stepSize,
            int rowFrom,
            int rowTo);
}
