package io.vectune.models.decoder;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// One linear layer y = x Wᵀ + b.
///
/// @param name the module's name in Hugging Face models, which adapters target: `model.layers.0.self_attn.q_proj`
/// @param bias (1, outFeatures), or null
public record Linear(String name, Weight weight, @Nullable Matrix bias) {
    public Linear {
        if (bias != null && (bias.rows() != 1 || bias.columns() != weight.outFeatures())) {
            throw new IllegalArgumentException(
                    name
                            + ".bias: expected (1, "
                            + weight.outFeatures()
                            + "), found ("
                            + bias.rows()
                            + ", "
                            + bias.columns()
                            + ")");
        }
    }

    /// The same layer with another weight of the same shape.
    public Linear withWeight(Weight replacement) {
        if (replacement.outFeatures() != weight.outFeatures() || replacement.inFeatures() != weight.inFeatures()) {
            throw new IllegalArgumentException(
                    name
                            + ".weight: expected ("
                            + weight.outFeatures()
                            + ", "
                            + weight.inFeatures()
                            + "), found ("
                            + replacement.outFeatures()
                            + ", "
                            + replacement.inFeatures()
                            + ")");
        }
        return new Linear(name, replacement, bias);
    }
}
