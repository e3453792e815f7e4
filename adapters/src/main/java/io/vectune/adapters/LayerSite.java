package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// A linear layer of a host model where an adapter can sit.
///
/// @param name the module's path in the host: `model.layers.0.self_attn.q_proj`
/// @param weight the frozen weight
/// @param bias (1, outFeatures), or null
/// @param outputHead whether this is the output embedding, which `all-linear` leaves out
public record LayerSite(String name, Weight weight, @Nullable Matrix bias, boolean outputHead) {
    /// A layer that is not the output embedding.
    public LayerSite(String name, Weight weight, @Nullable Matrix bias) {
        this(name, weight, bias, false);
    }
}
