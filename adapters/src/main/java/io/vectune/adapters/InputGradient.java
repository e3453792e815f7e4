package io.vectune.adapters;

import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;

/// The gradient of a layer's input while it is gathered: dL/dx = gradProduct W + what adapters read of x themselves.
///
/// An adapter gives its part as a low-rank term, which the product with the weight takes along, or else as a matrix.
/// Several adapters and several layers that read the same x can give parts to one gradient.
public final class InputGradient {
    private final Compute compute;
    private final Matrix matrix;
    private final LowRankTerms terms = new LowRankTerms();
    private boolean written;

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
        written = true;
    }

    /// Writes the terms that no product took along, and zeros if nothing was given at all.
    public void finish() {
        if (!terms.isEmpty() || !written) {
            terms.addTo(compute, matrix, written);
            terms.clear();
            written = true;
        }
    }
}
