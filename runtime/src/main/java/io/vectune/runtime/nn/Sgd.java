package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// Stochastic gradient descent with torch's momentum and coupled weight decay.
///
///     g = g + weightDecay p
///     b = g on the first step, momentum b + g afterwards          (if momentum is not 0)
///     p = p - learningRate b
///
/// @param momentum 0 for none
/// @param weightDecay coupled decay
public record Sgd(double momentum, double weightDecay) {
    /// One step for one parameter.
    ///
    /// @param step 1 for the first step
    /// @param parameter updated
    /// @param gradient of the loss
    /// @param momentumBuffer updated; null exactly if momentum is 0
    public void step(
            Compute compute,
            long step,
            double learningRate,
            Matrix parameter,
            Matrix gradient,
            @Nullable Matrix momentumBuffer) {
        if (step < 1) {
            throw new IllegalArgumentException("step: expected at least 1, found " + step);
        }
        Shapes.requireSame("gradient", gradient, parameter);
        if ((momentumBuffer == null) != (momentum == 0)) {
            throw new IllegalArgumentException(
                    "momentumBuffer: expected one exactly if momentum is not 0, found momentum " + momentum);
        }
        if (momentumBuffer != null) {
            Shapes.requireSame("momentumBuffer", momentumBuffer, parameter);
        }
        float keep = step == 1 ? 0 : (float) momentum;
        float decay = (float) weightDecay;
        float stepSize = (float) -learningRate;
        compute.team()
                .run(
                        parameter.rows(),
                        Shapes.minRows(parameter.columns()),
                        (from, to, worker) ->
                                OptimizerKernel.ACTIVE.sgd(
                                        parameter, gradient, momentumBuffer, keep, decay, stepSize, from, to));
    }
}
