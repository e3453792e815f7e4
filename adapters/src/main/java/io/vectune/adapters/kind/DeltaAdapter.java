package io.vectune.adapters.kind;

import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A kind whose change of the weight has full rank and is formed once a parameter version:
///
///     y = x Wᵀ + b + x dWᵀ        d(dW) = gYᵀ x,  gX = gY W + gY dW
///
/// Cost      as much as the frozen product again, forward and backward
/// Memory    one dense f32 matrix (outFeatures, inFeatures) a layer
abstract class DeltaAdapter extends LayerAdapter implements ProductMap {
    /// The change of the weight, current since the last refresh.
    final Matrix delta;

    DeltaAdapter(String kind, LayerSite site, Arena arena) {
        super(kind, site);
        this.delta = Matrix.allocate(arena, outFeatures(), inFeatures());
    }

    /// Overwrites [#delta] from the parameters.
    abstract void form(Compute compute, Weight weight);

    /// Adds to the parameter gradients what follows from the gradient of the change.
    ///
    /// @param gradDelta (outFeatures, inFeatures), may be overwritten
    abstract void chain(Compute compute, Weight weight, Matrix gradDelta, List<Matrix> gradients);

    @Override
    public final Form form() {
        return Form.ADDS;
    }

    @Override
    public final void refresh(Compute compute, Weight weight) {
        form(compute, weight);
    }

    @Override
    public final long savedFloats(int tokens) {
        return 0;
    }

    @Override
    public final void applyToProduct(AdapterCall call, Matrix y) {
        MatMul.nt(call.compute(), 1, call.x(), delta, y, true);
        RowKernels.addRow(call.compute(), y, call.bias());
    }

    @Override
    public final void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix gradDelta = workspace.matrix(outFeatures(), inFeatures());
        MatMul.tn(compute, 1, gradOutput, call.x(), gradDelta, false);
        chain(compute, call.weight(), gradDelta, gradients);
        if (gradInput != null) {
            Matrix part = gradInput.part();
            MatMul.nn(compute, 1, gradOutput, delta, part, false);
            gradInput.add(part);
        }
        workspace.release(mark);
    }

    @Override
    public final void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        RowKernels.addScaled(compute, merged, delta, 1);
    }
}
