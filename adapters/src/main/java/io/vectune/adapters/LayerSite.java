package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// A part of a host model where an adapter can sit.
///
/// @param name the module's path in the host: `model.layers.0.self_attn.q_proj`
/// @param weight the frozen weight; of a norm the row (1, features) that scales its output; of an embedding the table
///   (vocabSize, hiddenSize)
/// @param bias (1, outFeatures), or null
/// @param part what the module does
public record LayerSite(String name, Weight weight, @Nullable Matrix bias, Part part) {
    /// What a module does.
    public enum Part {
        /// A linear layer.
        LINEAR,
        /// The output embedding, a linear layer that `all-linear` leaves out.
        HEAD,
        /// A norm: scales each feature.
        NORM,
        /// The input embedding: looks up rows.
        EMBEDDING;

        /// Whether it multiplies by its weight.
        public boolean isLinear() {
            return this == LINEAR || this == HEAD;
        }
    }

    /// A linear layer that is not the output embedding.
    public LayerSite(String name, Weight weight, @Nullable Matrix bias) {
        this(name, weight, bias, Part.LINEAR);
    }

    /// A linear layer, perhaps the output embedding.
    public LayerSite(String name, Weight weight, @Nullable Matrix bias, boolean outputHead) {
        this(name, weight, bias, outputHead ? Part.HEAD : Part.LINEAR);
    }

    /// Whether this is the output embedding.
    public boolean outputHead() {
        return part == Part.HEAD;
    }
}
