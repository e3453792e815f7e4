package io.vectune.adapters.kind;

import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.kernel.DropoutMask;
import io.vectune.adapters.kernel.LowRank;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
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
    private final double dropout;
    private final long stream;

    FactoredAdapter(String kind, LayerSite site, double scaling, double dropout) {
        super(kind, site);
        this.scaling = (float) scaling;
        this.dropout = dropout;
        this.stream = SplitMix.hash(site.name());
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
    public final void applyToProduct(AdapterCall call, Matrix y) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix h = call.savedOrTemporary(0, y.rows(), factorA().rows());
        LowRank.forward(call.compute(), dropped(call), factorA(), factorB(), scaling, h, y);
        RowKernels.addRow(call.compute(), y, call.bias());
        workspace.release(mark);
    }

    @Override
    public final void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable Matrix gradInput,
            List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int width = factorA().rows();
        Matrix h = call.saved(0, gradOutput.rows(), width);
        Matrix gradH = workspace.matrix(gradOutput.rows(), width);
        Matrix gradB = workspace.matrix(outFeatures(), width);
        gradB.fill(0);
        Matrix gradA = null;
        if (trainsA()) {
            gradA = workspace.matrix(width, inFeatures());
            gradA.fill(0);
        }
        Matrix x = trainsA() ? dropped(call) : call.x();
        LowRank.backward(compute, x, factorA(), factorB(), scaling, h, gradOutput, gradH, gradA, gradB, gradInput);
        if (gradInput != null && drops(call)) {
            DropoutMask.apply(compute, gradInput, dropout, call.options().dropoutSeed(), stream, gradInput);
        }
        chain(compute, gradA, gradB, gradients);
        workspace.release(mark);
    }

    private boolean drops(AdapterCall call) {
        return dropout > 0 && call.options().training();
    }

    private Matrix dropped(AdapterCall call) {
        if (!drops(call)) {
            return call.x();
        }
        Matrix masked = call.compute().workspace().matrix(call.x().rows(), inFeatures());
        DropoutMask.apply(call.compute(), call.x(), dropout, call.options().dropoutSeed(), stream, masked);
        return masked;
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
