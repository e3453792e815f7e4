package io.vectune.adapters;

import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// An adapter that changes what the frozen weight reads: y = T(x) Wᵀ + b, T linear in x for fixed parameters.
///
///     forward    x' = T(x)              y = x' Wᵀ + b
///     backward   gX' = gY W             gX = Tᵀ(gX')
public interface InputMap extends Adapter {
    /// Overwrites `mapped` (tokens, inFeatures) with T(x); it does not alias x.
    void mapInput(AdapterCall call, Matrix mapped);

    /// Backward of [#mapInput]: adds to the parameter gradients, overwrites gradInput unless it is null.
    ///
    /// @param gradMapped (tokens, inFeatures), dL/dT(x); not modified
    /// @param gradInput (tokens, inFeatures), not the same memory as gradMapped
    void backwardInput(AdapterCall call, Matrix gradMapped, @Nullable Matrix gradInput, List<Matrix> gradients);

    @Override
    default void forward(AdapterCall call, Matrix y) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix mapped = workspace.matrix(call.x().rows(), inFeatures());
        mapInput(call, mapped);
        MatMul.multiply(call.compute(), call.weight(), mapped, y, false);
        RowKernels.addRow(call.compute(), y, call.bias());
        workspace.release(mark);
    }

    @Override
    default void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix gradMapped = workspace.matrix(call.x().rows(), inFeatures());
        MatMul.multiplyTransposed(call.compute(), call.weight(), gradOutput, gradMapped, false);
        backwardInput(call, gradMapped, gradInput, gradients);
        workspace.release(mark);
    }
}
