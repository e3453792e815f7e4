package io.vectune.adapters;

import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// An adapter that works on the frozen product: y = F(x Wᵀ, x, b).
///
///     forward    p = x Wᵀ                       y = F(p, x, b)
///     backward   gP = dL/dp                     gX = gP W + (what F reads of x)
public interface ProductMap extends Adapter {
    /// How F uses its arguments; decides what has to be computed and how adapters compose.
    enum Form {
        /// y = p + b + D(x): gP = gY.
        ADDS,
        /// y = c ⊙ p + b + D(x): reads x and changes the gradient of the product.
        SCALES_AND_ADDS,
        /// y = M(p + b): does not read x.
        MAPS_OUTPUT
    }

    /// How this adapter uses the product.
    Form form();

    /// Before the product: the low-rank terms of D(x), which the product takes along. What they hold may lie in the
    /// workspace: the caller's mark is from before this call.
    ///
    /// @param column first column of this layer's output in the product
    default void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        // A kind without a low-rank path has none.
    }

    /// On entry y holds p = x Wᵀ and the terms of [#addTerms], without bias; on exit the adapted output, bias included.
    void applyToProduct(AdapterCall call, Matrix y);

    /// Backward of [#applyToProduct]. Adds to the parameter gradients.
    ///
    /// @param gradOutput (tokens, outFeatures), not modified
    /// @param gradProduct (tokens, outFeatures), overwritten with dL/dp; null exactly for the form ADDS
    /// @param gradInput given the part of dL/dx that does not go through the weight; or null. What a low-rank term
    ///   holds may lie in the workspace: the caller's mark is from before this call
    void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients);

    @Override
    default void forward(AdapterCall call, Matrix y) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        LowRankTerms terms = new LowRankTerms();
        addTerms(call, terms, 0);
        MatMul.multiply(call.compute(), call.weight(), call.x(), terms, y);
        applyToProduct(call, y);
        workspace.release(mark);
    }

    @Override
    default void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix gradProduct = form() == Form.ADDS ? null : workspace.matrix(gradOutput.rows(), outFeatures());
        InputGradient input = gradInput == null ? null : new InputGradient(call.compute(), gradInput);
        backwardProduct(call, gradOutput, gradProduct, input, gradients);
        if (input != null) {
            input.addProduct(call.weight(), gradProduct == null ? gradOutput : gradProduct);
        }
        workspace.release(mark);
    }
}
