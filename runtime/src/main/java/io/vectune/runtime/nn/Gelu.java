package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// The Gaussian error linear unit with the tanh approximation (Hendrycks & Gimpel, arXiv 1606.08415).
///
///     u = sqrt(2 / pi) (x + 0.044715 x^3)
///     y = x (1 + tanh u) / 2 = x sigmoid(2 u)
///
/// Both forms are equal; the second one needs one exponential. Shapes (tokens, n).
public final class Gelu {
    /// 2 sqrt(2 / pi).
    static final float TWICE_FACTOR = 0x1.988454p0f;

    /// 0.044715 times 2 sqrt(2 / pi).
    static final float TWICE_CUBIC = 0x1.2444f2p-4f;

    private static final GeluKernel KERNEL = GeluKernel.active();

    private Gelu() {}

    /// y = gelu(x); y may be x.
    public static void forward(Compute compute, Matrix x, Matrix y) {
        Shapes.requireSame("y", y, x);
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) ->
                                KERNEL.forward(x, y, compute.scratch(worker, 0, GeluKernel.SCRATCH), from, to));
    }

    /// Overwrites the gradient of x.
    ///
    ///     s = sigmoid(2 u),  gradX = gradY s (1 + x (1 - s) d(2 u)/dx)
    ///
    /// @param gradX may be x or gradY
    public static void backward(Compute compute, Matrix x, Matrix gradY, Matrix gradX) {
        Shapes.requireSame("gradY", gradY, x);
        Shapes.requireSame("gradX", gradX, x);
        compute.team()
                .run(
                        x.rows(),
                        Shapes.minRows(x.columns()),
                        (from, to, worker) ->
                                KERNEL.backward(
                                        x, gradY, gradX, compute.scratch(worker, 0, GeluKernel.SCRATCH), from, to));
    }
}
