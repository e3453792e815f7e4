package io.vectune.models.flux;

import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// What an adapter adds to one linear layer: s x[:, 0:k] Aᵀ Bᵀ + b, with k columns of A.
///
/// A may have fewer columns than the layer has input features: an adapter of the narrow input on a widened one. Its
/// missing columns are zero and cost nothing.
///
/// @param a (rank, k); layers that were one layer in a file share it
/// @param b (outFeatures, rank)
/// @param bias (1, outFeatures), or null
/// @param scale s, alpha over rank
public record LowRankUpdate(Matrix a, Matrix b, @Nullable Matrix bias, float scale) {
    public LowRankUpdate {
        if (a.rows() != b.columns()) {
            throw new IllegalArgumentException(
                    "lora_A and lora_B: expected one rank, found " + a.rows() + " and " + b.columns());
        }
        if (bias != null && (bias.rows() != 1 || bias.columns() != b.rows())) {
            throw new IllegalArgumentException(
                    "bias: expected " + b.rows() + " values, as lora_B has rows, found " + bias.columns());
        }
        if (!Float.isFinite(scale)) {
            throw new IllegalArgumentException("scale: expected a finite number, found " + scale);
        }
    }

    int rank() {
        return a.rows();
    }
}
