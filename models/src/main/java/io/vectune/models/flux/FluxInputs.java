package io.vectune.models.flux;

import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// What the transformer is given for one sample, with the names of diffusers.
///
/// @param hiddenStates (image tokens, inChannels), packed latents, with the packed control image beside them for a
///   widened model
/// @param encoderHiddenStates (text tokens, jointAttentionDim)
/// @param pooledProjections (1, pooledProjectionDim)
/// @param timestep noise level, 0 to 1
/// @param guidance guidance scale; null for models without guidance
/// @param imageIds (image tokens, axes), positions of the image tokens
/// @param textIds (text tokens, axes)
public record FluxInputs(
        Matrix hiddenStates,
        Matrix encoderHiddenStates,
        Matrix pooledProjections,
        float timestep,
        @Nullable Float guidance,
        Matrix imageIds,
        Matrix textIds) {
    /// Number of text and image tokens together.
    public int tokens() {
        return Math.addExact(hiddenStates.rows(), encoderHiddenStates.rows());
    }

    /// @throws IllegalArgumentException naming the input that does not fit the model
    void requireFits(FluxConfig config) {
        int image = hiddenStates.rows();
        int text = encoderHiddenStates.rows();
        if (image == 0) {
            throw new IllegalArgumentException("hidden_states: expected at least one token, found none");
        }
        require("hidden_states", hiddenStates, image, config.inChannels());
        require("encoder_hidden_states", encoderHiddenStates, text, config.jointAttentionDim());
        require("pooled_projections", pooledProjections, 1, config.pooledProjectionDim());
        require("img_ids", imageIds, image, config.axesDims().size());
        require("txt_ids", textIds, text, config.axesDims().size());
        if (!Float.isFinite(timestep)) {
            throw new IllegalArgumentException("timestep: expected a finite number, found " + timestep);
        }
        if (config.guidanceEmbeds() != (guidance != null)) {
            throw new IllegalArgumentException(
                    config.guidanceEmbeds()
                            ? "guidance: expected a number, as the model has a guidance embedding, found none"
                            : "guidance: expected none, as the model has no guidance embedding, found " + guidance);
        }
        if (guidance != null && !Float.isFinite(guidance)) {
            throw new IllegalArgumentException("guidance: expected a finite number, found " + guidance);
        }
    }

    private static void require(String name, Matrix matrix, int rows, int columns) {
        if (matrix.rows() != rows || matrix.columns() != columns) {
            throw new IllegalArgumentException(
                    name
                            + ": expected ["
                            + rows
                            + ", "
                            + columns
                            + "], found ["
                            + matrix.rows()
                            + ", "
                            + matrix.columns()
                            + "]");
        }
    }
}
