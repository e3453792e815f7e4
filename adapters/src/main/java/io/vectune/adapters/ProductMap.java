package io.vectune.adapters;

import io.vectune.runtime.compute.Workspace;
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

    /// On entry y holds p = x Wᵀ without bias; on exit the adapted output, bias included.
    void applyToProduct(AdapterCall call, Matrix y);

    /// Backward of [#applyToProduct]. Adds to the parameter gradients.
    ///
    /// @param gradOutput (tokens, outFeatures), not modified
    /// @param gradProduct (tokens, outFeatures), overwritten with dL/dp; null exactly for the form ADDS
    /// @param gradInput (tokens, inFeatures), or null: overwritten with the part of dL/dx that does not go through the
    ///   weight; untouched for the form MAPS_OUTPUT
    void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable Matrix gradInput,
            List<Matrix> gradients);

    @Override
    default void forward(AdapterCall call, Matrix y) {
        MatMul.multiply(call.compute(), call.weight(), call.x(), y, false);
        applyToProduct(call, y);
    }

    @Override
    default void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Workspace workspace = call.compute().workspace();
        long mark = workspace.mark();
        Matrix gradProduct = form() == Form.ADDS ? null : workspace.matrix(gradOutput.rows(), outFeatures());
        backwardProduct(call, gradOutput, gradProduct, gradInput, gradients);
        if (gradInput != null) {
            MatMul.multiplyTransposed(
                    call.compute(),
                    call.weight(),
                    gradProduct == null ? gradOutput : gradProduct,
                    gradInput,
                    form() != Form.MAPS_OUTPUT);
        }
        workspace.release(mark);
    }
}
