package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.Map;

/// What a kind does beside the optimizer after each step: AdaLoRA's choice of ranks. For one run; not thread-safe.
public interface StepRule {
    /// After the optimizer changed the parameters, before they are used again.
    ///
    /// @param step 0 for the first one
    /// @param gradients by layer, in the order of its trainable parameters, as the optimizer used them
    void afterStep(int step, List<List<Matrix>> gradients);

    /// A copy of what later steps depend on, by name; the names are the same at any time.
    Map<String, Matrix> state();

    /// Goes back to a copied state.
    void restore(Map<String, Matrix> state);
}
