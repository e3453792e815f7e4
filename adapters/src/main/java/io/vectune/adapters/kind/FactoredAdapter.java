package io.vectune.adapters.kind;

import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A kind whose change of the weight is a product of two factors that are computed from its parameters:
///
///     y = x Wᵀ + b + s (x A'ᵀ) B'ᵀ        A' (width, inFeatures), B' (outFeatures, width)
///
/// A kind says how the factors follow from the parameters, and how their gradients lead back.
abstract class FactoredAdapter extends LayerAdapter implements ProductMap, LowRankForm {
    private final float scaling;
    private final LowRankPath path;

    FactoredAdapter(String kind, LayerSite site, double scaling, double dropout) {
        super(kind, site);
        this.scaling = (float) scaling;
        this.path = new LowRankPath(site, dropout);
    }

    /// A', current since the last refresh.
    abstract Matrix factorA();

    /// B', current since the last refresh.
    abstract Matrix factorB();

    /// Whether parameters depend on A'.
    abstract boolean trainsA();

    /// Adds to the parameter gradients what follows from the gradients of the factors.
    ///
    /// @param gradA dL/dA', or null if [#trainsA] is false
    /// @param gradB dL/dB'
    abstract void chain(Compute compute, @Nullable Matrix gradA, Matrix gradB, List<Matrix> gradients);

    @Override
    public final Form form() {
        return Form.ADDS;
    }

    @Override
    public final long savedFloats(int tokens) {
        return (long) tokens * factorA().rows();
    }

    @Override
    public final void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        Matrix h = call.savedOrTemporary(0, call.x().rows(), factorA().rows());
        path.forward(call, factorA(), factorB(), scaling, h, terms, column);
    }

    @Override
    public final void applyToProduct(AdapterCall call, Matrix y) {
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
        int width = factorA().rows();
        Matrix h = call.saved(0, gradOutput.rows(), width);
        Matrix gradH = workspace.matrix(gradOutput.rows(), width);
        long mark = workspace.mark();
        Matrix gradB = workspace.matrix(outFeatures(), width);
        gradB.fill(0);
        Matrix gradA = null;
        if (trainsA()) {
            gradA = workspace.matrix(width, inFeatures());
            gradA.fill(0);
        }
        path.backward(call, factorA(), factorB(), scaling, h, gradOutput, gradH, gradA, gradB, gradInput);
        chain(compute, gradA, gradB, gradients);
        workspace.release(mark);
    }

    @Override
    public final void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        MatMul.nn(compute, scaling, factorB(), factorA(), merged, true);
    }

    @Override
    public final Factors lowRank(Compute compute) {
        return new Factors(factorA(), factorB(), scaling);
    }
}
