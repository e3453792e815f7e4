package io.vectune.adapters;

import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;

/// The gradient of a layer's input while it is gathered: dL/dx = gradProduct W + what adapters read of x themselves.
///
/// An adapter gives its part as a low-rank term, which the product with the weight takes along, or else as a matrix.
/// Several adapters and several layers that read the same x can give parts to one gradient.
public final class InputGradient {
    private final Compute compute;
    private final Matrix matrix;
    private final LowRankTerms terms = new LowRankTerms();
    private final List<FactorGradient> factorGradients = new ArrayList<>();
    private boolean written;

    private record FactorGradient(Matrix gradH, Matrix x, Matrix gradA) {}

    /// A gradient of which nothing is there yet.
    ///
    /// @param matrix (tokens, inFeatures), where the gradient will be; overwritten
    public InputGradient(Compute compute, Matrix matrix) {
        this.compute = compute;
        this.matrix = matrix;
    }

    /// Adds gradH A.
    ///
    /// @param gradH (tokens, rank); must stay as it is until [#addProduct]: its owner takes it from the workspace
    ///   before its own mark
    /// @param a (rank, inFeatures or fewer)
    public void addTerm(Matrix gradH, Matrix a) {
        terms.addTransposed(gradH, a);
    }

    /// Adds gradH A with gradH = s gradOutput B, which the product computes on the way.
    ///
    /// @param gradOutput (tokens, outFeatures): what the product will read, or some of its columns
    /// @param b (outFeatures, rank)
    /// @param gradH (tokens, rank), overwritten: there after [#addProduct] and [#finish]; else as in the other term
    /// @param a (rank, inFeatures or fewer)
    public void addTerm(Matrix gradOutput, Matrix b, float s, Matrix gradH, Matrix a) {
        terms.addTransposed(gradOutput, b, s, gradH, a);
    }

    /// gradA += gradHᵀ x as soon as gradH is there.
    ///
    /// @param gradH of a term that the product computes
    /// @param x (tokens, inFeatures), unchanged until then
    /// @param gradA (rank, inFeatures)
    public void addFactorGradient(Matrix gradH, Matrix x, Matrix gradA) {
        factorGradients.add(new FactorGradient(gradH, x, gradA));
    }

    private void settleFactorGradients() {
        for (FactorGradient each : factorGradients) {
            MatMul.tn(compute, 1, each.gradH, each.x, each.gradA, true);
        }
        factorGradients.clear();
    }

    /// A matrix to overwrite with a part that is no product of small rank, for [#add]. One at a time.
    public Matrix part() {
        return written ? compute.workspace().matrix(matrix.rows(), matrix.columns()) : matrix;
    }

    /// Adds a part.
    ///
    /// @param part what [#part] gave
    public void add(Matrix part) {
        if (written) {
            RowKernels.addScaled(compute, matrix, part, 1);
        }
        written = true;
    }

    /// Adds gradProduct W, and with it all terms so far.
    ///
    /// @param gradProduct (tokens, outFeatures)
    public void addProduct(Weight weight, Matrix gradProduct) {
        MatMul.multiplyTransposed(compute, weight, gradProduct, terms, matrix, written);
        terms.clear();
        settleFactorGradients();
        written = true;
    }

    /// Writes the terms that no product took along, and zeros if nothing was given at all.
    public void finish() {
        if (!terms.isEmpty() || !written) {
            terms.addTo(compute, matrix, written);
            terms.clear();
            settleFactorGradients();
            written = true;
        }
    }
}
