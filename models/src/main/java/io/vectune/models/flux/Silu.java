package io.vectune.models.flux;

import io.vectune.runtime.nn.Exp;
import io.vectune.runtime.tensor.Matrix;

/// silu(x) = x sigmoid(x) for the single rows of the conditioning.
final class Silu {
    private Silu() {}

    /// y = silu(x); y may be x.
    static void forward(Matrix x, Matrix y) {
        for (int i = 0; i < x.columns(); i++) {
            float value = x.get(0, i);
            y.set(0, i, value * Exp.sigmoid(value));
        }
    }

    /// grad *= d silu / dx at x.
    static void backward(Matrix x, Matrix grad) {
        for (int i = 0; i < x.columns(); i++) {
            float value = x.get(0, i);
            float s = Exp.sigmoid(value);
            grad.set(0, i, grad.get(0, i) * (s * (1 + value * (1 - s))));
        }
    }
}
