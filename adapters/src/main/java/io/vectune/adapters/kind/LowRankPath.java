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
/// The frozen product takes it along: what is left are the narrow products h = s x̃ Aᵀ and gradH = s gradY B, and the
/// gradients of the factors.
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

    /// h = s x̃ Aᵀ, and the term h Bᵀ for the product.
    ///
    /// @param h (tokens, rank), overwritten
    /// @param column first column of the layer's output in the product
    void forward(AdapterCall call, Matrix a, Matrix b, float s, Matrix h, LowRankTerms terms, int column) {
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
