package io.vectune.models.flux;

import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// One training sample whose images and texts are encoded already.
///
/// @param latents (image tokens, channels), the packed clean latents
/// @param control (image tokens, control channels), the packed latents of the control image; null without one
/// @param encoderHiddenStates (text tokens, jointAttentionDim)
/// @param pooledProjections (1, pooledProjectionDim)
/// @param imageIds (image tokens, axes)
/// @param textIds (text tokens, axes)
public record FluxRow(
        Matrix latents,
        @Nullable Matrix control,
        Matrix encoderHiddenStates,
        Matrix pooledProjections,
        Matrix imageIds,
        Matrix textIds) {
    /// Input features of the transformer that this row is for.
    public int inChannels() {
        Matrix beside = control;
        return latents.columns() + (beside == null ? 0 : beside.columns());
    }
}
