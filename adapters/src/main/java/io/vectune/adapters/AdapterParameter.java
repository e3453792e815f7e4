package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// One parameter of an adapter.
///
/// @param name our name, as the formulas use it: `loraA`, `loraB`, `magnitude`
/// @param values the live values; a vector is a matrix of one row
/// @param trainable whether an optimizer changes it
/// @param role what it is to the layer, for learning-rate and weight-decay groups
/// @param stored how a PEFT file holds it, or null for what files do not hold
public record AdapterParameter(String name, Matrix values, boolean trainable, Role role, @Nullable Stored stored) {

    /// What a parameter is to the layer.
    public enum Role {
        /// A matrix on the input side of a low-rank product (lora_A) or another matrix of directions.
        INPUT_FACTOR(true),
        /// A matrix on the output side of a low-rank product (lora_B).
        OUTPUT_FACTOR(true),
        /// Sizes around a value other than 0: magnitudes, gates, lambdas. Decay would pull them away from the identity.
        SCALE(false),
        /// Angles and skew-symmetric entries.
        ROTATION(false),
        /// Biases.
        BIAS(false),
        /// A full weight of the host.
        WEIGHT(true);

        private final boolean decays;

        Role(boolean decays) {
            this.decays = decays;
        }

        /// Whether weight decay makes sense for this role.
        public boolean decays() {
            return decays;
        }
    }

    /// The form in a PEFT file.
    ///
    /// @param key what follows the module's name: `lora_A.weight`
    /// @param transposed whether the file holds the transpose of `values`
    /// @param required whether a file without it is refused; otherwise the start value stays
    /// @param shape the shape in the file
    @SuppressWarnings("ArrayRecordComponent") // compared by nobody; a shape is an array everywhere
    public record Stored(String key, boolean transposed, boolean required, long... shape) {
        /// How keys start that belong to the whole adapter and not to a module.
        public static final String SHARED = "base_model.";

        /// Whether all layers share the tensor.
        public boolean isShared() {
            return key.startsWith(SHARED);
        }

        /// A tensor that must be there.
        public Stored(String key, boolean transposed, long... shape) {
            this(key, transposed, true, shape);
        }

        /// The same tensor, which may be absent.
        public Stored optional() {
            return new Stored(key, transposed, false, shape);
        }

        @Override
        public String toString() {
            return key + Arrays.toString(shape);
        }
    }

    /// A parameter that the file holds as it is.
    public static AdapterParameter matrix(String name, String key, Role role, Matrix values) {
        return new AdapterParameter(name, values, true, role, new Stored(key, false, values.rows(), values.columns()));
    }

    /// A vector parameter, (1, n) here, (n) in the file.
    public static AdapterParameter vector(String name, String key, Role role, Matrix values) {
        return new AdapterParameter(name, values, true, role, new Stored(key, false, values.columns()));
    }

    /// The same parameter, not changed by optimizers.
    public AdapterParameter frozen() {
        return new AdapterParameter(name, values, false, role, stored);
    }
}
