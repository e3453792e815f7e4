package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// The gate of Llama's feed-forward block (Shazeer, arXiv 2002.05202).
///
///     y = silu(gate) * up,    silu(z) = z * sigmoid(z)
///
/// All shapes (tokens, intermediateSize).
public final class SwiGlu {
    private SwiGlu() {}

    /// y = silu(gate) * up; y may be gate or up.
    public static void forward(Compute compute, Matrix gate, Matrix up, Matrix y) {
        Shapes.requireSame("up", up, gate);
        Shapes.requireSame("y", y, gate);
        RowTasks.take(compute).gate(gate, up, y);
    }

    /// Overwrites the gradients of gate and up.
    ///
    ///     s        = sigmoid(gate)
    ///     gradUp   = gradY * gate * s
    ///     gradGate = gradY * up * s * (1 + gate * (1 - s))
    ///
    /// @param gradGate may be gate or gradY
    /// @param gradUp may be up or gradY (not the same as gradGate)
    public static void backward(Compute compute, Matrix gate, Matrix up, Matrix gradY, Matrix gradGate, Matrix gradUp) {
        Shapes.requireSame("up", up, gate);
        Shapes.requireSame("gradY", gradY, gate);
        Shapes.requireSame("gradGate", gradGate, gate);
        Shapes.requireSame("gradUp", gradUp, gate);
        RowTasks.take(compute).gateBackward(gate, up, gradY, gradGate, gradUp);
    }
}
