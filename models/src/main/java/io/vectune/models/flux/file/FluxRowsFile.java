package io.vectune.models.flux.file;

import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxRow;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// Reads rows of precomputed latents for training from a safetensors file:
///
/// | tensor | shape |
/// |---|---|
/// | latents | [rows, image tokens, out_channels], packed |
/// | control | [rows, image tokens, any], packed; only for a Control LoRA |
/// | encoder_hidden_states | [rows, text tokens, joint_attention_dim] |
/// | pooled_projections | [rows, pooled_projection_dim] |
/// | img_ids, txt_ids | [tokens, axes], for all rows |
public final class FluxRowsFile {
    private FluxRowsFile() {}

    /// Reads all rows.
    ///
    /// @param arena owns the copies
    /// @throws VectuneException if a tensor is missing, or its shape does not fit the model; the message names it
    public static List<FluxRow> read(Path file, FluxConfig config, Arena arena) {
        try (Arena mapping = Arena.ofShared()) {
            FloatTensors tensors = new FloatTensors(SafetensorsFile.open(file, mapping), arena);
            long[] latents = tensors.withAxes("latents", 3).shape();
            long[] encoder = tensors.withAxes("encoder_hidden_states", 3).shape();
            long rows = latents[0];
            int axes = config.axesDims().size();
            tensors.requireShape("latents", rows, latents[1], config.outChannels());
            tensors.requireShape("encoder_hidden_states", rows, encoder[1], config.jointAttentionDim());
            tensors.requireShape("pooled_projections", rows, config.pooledProjectionDim());
            tensors.requireShape("img_ids", latents[1], axes);
            tensors.requireShape("txt_ids", encoder[1], axes);
            boolean controlled = tensors.source().contains("control");
            if (controlled) {
                tensors.requireShape("control", rows, latents[1], tensors.withAxes("control", 3).size(2));
            }
            if (rows == 0 || latents[1] == 0) {
                throw new FileFormatException(
                        tensors.source().origin() + ": latents: expected at least one row and token, found none");
            }
            Matrix imageIds = tensors.matrix("img_ids", 0, latents[1]);
            Matrix textIds = tensors.matrix("txt_ids", 0, encoder[1]);
            List<FluxRow> all = new ArrayList<>();
            for (long row = 0; row < rows; row++) {
                all.add(
                        new FluxRow(
                                tensors.matrix("latents", row, latents[1]),
                                controlled ? tensors.matrix("control", row, latents[1]) : null,
                                tensors.matrix("encoder_hidden_states", row, encoder[1]),
                                tensors.matrix("pooled_projections", row, 1),
                                imageIds,
                                textIds));
            }
            return all;
        }
    }
}
