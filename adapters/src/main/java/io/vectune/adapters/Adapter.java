package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// An adapter of one linear layer: forward and backward with hand-derived gradients, on any frozen weight.
///
/// An adapter holds its parameters and what is derived from them alone; it never changes the weight and keeps no state
/// of a call, so that many threads can use it and each call names the adapter it wants. Only a trainer changes
/// parameters, and calls [#refresh] afterwards.
///
/// Kinds implement one of the two shapes that an adapted layer can have, [InputMap] or [ProductMap]; these compose and
/// share the frozen product with other adapters. Hosts need only this interface.
public interface Adapter {
    /// The kind, as files and the command line name it: `lora`, `dora`.
    String kind();

    /// Features of the input of the adapted layer.
    int inFeatures();

    /// Features of the output of the adapted layer.
    int outFeatures();

    /// All parameters, trainable or not, in a fixed order. Their memory is live.
    List<AdapterParameter> parameters();

    /// The parameters that an optimizer changes, in the order of [#parameters]; gradients have this order.
    default List<AdapterParameter> trainableParameters() {
        List<AdapterParameter> trainable = new ArrayList<>();
        for (AdapterParameter parameter : parameters()) {
            if (parameter.trainable()) {
                trainable.add(parameter);
            }
        }
        return trainable;
    }

    /// Recomputes what depends only on the parameters and the frozen weight (DoRA's row norms, ...). Called once after
    /// the adapter is made and after each change of the parameters.
    void refresh(Compute compute, Weight weight);

    /// Floats that [#forward] leaves for [#backward] for a call of this many tokens.
    long savedFloats(int tokens);

    /// Overwrites y with the adapted layer's output, bias included.
    ///
    /// @param y (tokens, outFeatures)
    void forward(AdapterCall call, Matrix y);

    /// Backward of the same call. Adds to the parameter gradients; overwrites gradInput.
    ///
    /// @param gradOutput (tokens, outFeatures)
    /// @param gradInput (tokens, inFeatures), or null if nobody needs it
    /// @param gradients one matrix a trainable parameter, in the order of [#trainableParameters]
    void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients);

    /// The weight with this adapter folded in: overwrites `merged` (outFeatures, inFeatures) in f32.
    void merge(Compute compute, Weight weight, Matrix merged);

    /// Whether folding this adapter in also changes the bias (a gate on the output, a trained bias).
    default boolean changesBias() {
        return false;
    }

    /// The bias of the layer with this adapter folded in: overwrites `merged` (1, outFeatures).
    ///
    /// @param bias (1, outFeatures), or null for a layer without bias
    default void mergeBias(@Nullable Matrix bias, Matrix merged) {
        if (bias == null) {
            merged.fill(0);
        } else {
            merged.copyFrom(bias);
        }
    }

    /// A term of the loss that depends on the parameters alone (an orthogonality penalty): adds `factor` times its
    /// gradient to the gradients and returns its value, 0 for kinds without one.
    ///
    /// @param gradients as in [#backward]
    default double regularize(Compute compute, float factor, List<Matrix> gradients) {
        return 0;
    }
}
