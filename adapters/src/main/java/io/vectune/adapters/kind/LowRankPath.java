package io.vectune.adapters.kind;

import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kernel.DropoutMask;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// The low-rank path that most kinds share, with dropout on its input: y += (s x̃ Aᵀ) Bᵀ and its gradients.
///
/// The frozen product takes it along, h = s x̃ Aᵀ included: what is left are the narrow product gradH = s gradY B and
/// the gradients of the factors.
///
/// Shapes are x (tokens, inFeatures), A (rank, inFeatures), B (outFeatures, rank), h (tokens, rank). The cost is 2
/// tokens rank (inFeatures + outFeatures) flop forward, twice that backward.
final class LowRankPath {
    private final double dropout;
    private final long stream;

    /// @param dropout probability that an element of the path's input is zero in training
    LowRankPath(LayerSite site, double dropout) {
        this.dropout = dropout;
        this.stream = SplitMix.hash(site.name());
    }

    /// Whether this call masks the input of the path.
    boolean drops(AdapterCall call) {
        return dropout > 0 && call.options().training();
    }

    /// x̃: the input itself, or its masked copy in temporary memory.
    Matrix input(AdapterCall call) {
        if (!drops(call)) {
            return call.x();
        }
        Matrix masked = call.compute().workspace().matrix(call.x().rows(), call.x().columns());
        DropoutMask.apply(call.compute(), call.x(), dropout, call.options().dropoutSeed(), stream, masked);
        return masked;
    }

    /// Masks a gradient of x̃ in place, which makes it one of x.
    void mask(AdapterCall call, Matrix gradient) {
        if (drops(call)) {
            DropoutMask.apply(call.compute(), gradient, dropout, call.options().dropoutSeed(), stream, gradient);
        }
    }

    /// The term h Bᵀ with h = s x̃ Aᵀ for the product, which computes h on the way unless x is masked.
    ///
    /// @param h (tokens, rank), overwritten: there when the product is done
    /// @param column first column of the layer's output in the product
    void forward(AdapterCall call, Matrix a, Matrix b, float s, Matrix h, LowRankTerms terms, int column) {
        if (!drops(call)) {
            terms.addForward(call.x(), a, s, h, b, column);
            return;
        }
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        MatMul.nt(call.compute(), s, input(call), a, h, false);
        workspace.release(mark);
        terms.addForward(h, b, column);
    }

    /// Backward of [#forward]:
    ///
    ///     gradH = s gradY B     dB += gradYᵀ h     dA += gradHᵀ x̃     gradX += gradH A
    ///
    /// @param h what forward wrote
    /// @param gradH (tokens, rank), overwritten; must stay until the product of gradInput
    /// @param gradA, gradB added to; null for frozen factors
    void backward(
            AdapterCall call,
            Matrix a,
            Matrix b,
            float s,
            Matrix h,
            Matrix gradOutput,
            Matrix gradH,
            @Nullable Matrix gradA,
            @Nullable Matrix gradB,
            @Nullable InputGradient gradInput) {
        Compute compute = call.compute();
        MatMul.nn(compute, s, gradOutput, b, gradH, false);
        if (gradB != null) {
            MatMul.tn(compute, 1, gradOutput, h, gradB, true);
        }
        if (gradA != null) {
            Workspace workspace = compute.workspace();
            long mark = workspace.mark();
            MatMul.tn(compute, 1, gradH, input(call), gradA, true);
            workspace.release(mark);
        }
        if (gradInput != null) {
            backwardInput(call, gradH, a, gradInput);
        }
    }

    /// The same for factors whose gradients nobody reads before the product of the input's gradient: that product
    /// computes gradH on the way, unless x is masked or nobody wants the input's gradient, and dA follows it.
    ///
    /// @param gradOutput what that product reads, or some of its columns: the kind only adds
    /// @param gradA added to, at the latest when gradInput is complete
    void backwardWithProduct(
            AdapterCall call,
            Matrix a,
            Matrix b,
            float s,
            Matrix h,
            Matrix gradOutput,
            Matrix gradH,
            Matrix gradA,
            @Nullable Matrix gradB,
            @Nullable InputGradient gradInput) {
        if (gradInput == null || drops(call)) {
            backward(call, a, b, s, h, gradOutput, gradH, gradA, gradB, gradInput);
            return;
        }
        if (gradB != null) {
            MatMul.tn(call.compute(), 1, gradOutput, h, gradB, true);
        }
        gradInput.addTerm(gradOutput, b, s, gradH, a);
        gradInput.addFactorGradient(gradH, call.x(), gradA);
    }

    /// gradX += gradH A, masked as x̃ was.
    void backwardInput(AdapterCall call, Matrix gradH, Matrix a, InputGradient gradInput) {
        if (!drops(call)) {
            gradInput.addTerm(gradH, a);
            return;
        }
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix part = gradInput.part();
        MatMul.nn(call.compute(), 1, gradH, a, part, false);
        mask(call, part);
        gradInput.add(part);
        workspace.release(mark);
    }
}
