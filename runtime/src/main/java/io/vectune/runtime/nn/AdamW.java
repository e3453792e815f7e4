package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// AdamW (Loshchilov & Hutter, arXiv 1711.05101) with torch's defaults and torch's order of operations.
///
///     p = p (1 - learningRate weightDecay)
///     m = m + (g - m) (1 - beta1)
///     v = beta2 v + (1 - beta2) g g
///     p = p - learningRate / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
///
/// Coefficients are computed in double and rounded once to f32.
///
/// @param beta1 decay of the first moment
/// @param beta2 decay of the second moment
/// @param eps added outside the square root
/// @param weightDecay decoupled decay per unit of learning rate
public record AdamW(double beta1, double beta2, double eps, double weightDecay) {
    /// betas .9 and .999, eps 1e-8.
    public static AdamW withDefaults(double weightDecay) {
        return new AdamW(0.9, 0.999, 1e-8, weightDecay);
    }

    /// One step for one parameter.
    ///
    /// @param step 1 for the first step
    /// @param parameter updated
    /// @param gradient of the loss
    /// @param firstMoment updated; zero before the first step
    /// @param secondMoment updated; zero before the first step
    public void step(
            Compute compute,
            long step,
            double learningRate,
            Matrix parameter,
            Matrix gradient,
            Matrix firstMoment,
            Matrix secondMoment) {
        if (step < 1) {
            throw new IllegalArgumentException("step: expected at least 1, found " + step);
        }
        Shapes.requireSame("gradient", gradient, parameter);
        Shapes.requireSame("firstMoment", firstMoment, parameter);
        Shapes.requireSame("secondMoment", secondMoment, parameter);
        AdamWTask.take(compute).step(this, step, learningRate, parameter, gradient, firstMoment, secondMoment);
    }
}
