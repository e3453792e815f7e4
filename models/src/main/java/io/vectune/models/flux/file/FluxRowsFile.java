package io.vectune.models.flux.file;

import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxRow;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
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
            TensorSource source = SafetensorsFile.open(file, mapping);
            long[] latents = shape(source, "latents", 3);
            long[] encoder = shape(source, "encoder_hidden_states", 3);
            long rows = latents[0];
            int axes = config.axesDims().size();
            require(source, "latents", rows, latents[1], config.outChannels());
            require(source, "encoder_hidden_states", rows, encoder[1], config.jointAttentionDim());
            require(source, "pooled_projections", rows, config.pooledProjectionDim());
            require(source, "img_ids", latents[1], axes);
            require(source, "txt_ids", encoder[1], axes);
            boolean controlled = source.contains("control");
            if (controlled) {
                require(source, "control", rows, latents[1], shape(source, "control", 3)[2]);
            }
            if (rows == 0) {
                throw new FileFormatException(source.origin() + ": latents: expected at least one row, found none");
            }
            Matrix imageIds = matrix(source, "img_ids", 0, latents[1], arena);
            Matrix textIds = matrix(source, "txt_ids", 0, encoder[1], arena);
            List<FluxRow> all = new ArrayList<>();
            for (long row = 0; row < rows; row++) {
                all.add(
                        new FluxRow(
                                matrix(source, "latents", row, latents[1], arena),
                                controlled ? matrix(source, "control", row, latents[1], arena) : null,
                                matrix(source, "encoder_hidden_states", row, encoder[1], arena),
                                matrix(source, "pooled_projections", row, 1, arena),
                                imageIds,
                                textIds));
            }
            return all;
        }
    }

    private static long[] shape(TensorSource source, String name, int axes) {
        Tensor tensor = source.tensor(name);
        if (tensor.axes() != axes || !tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    source.origin() + ": " + name + ": expected a float tensor of " + axes + " axes, found " + tensor);
        }
        return tensor.shape();
    }

    private static void require(TensorSource source, String name, long... expected) {
        Tensor tensor = source.tensor(name);
        if (!Arrays.equals(tensor.shape(), expected) || !tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    source.origin()
                            + ": "
                            + name
                            + ": expected floats of the shape "
                            + Arrays.toString(expected)
                            + ", found "
                            + tensor);
        }
    }

    private static Matrix matrix(TensorSource source, String name, long index, long rows, Arena arena) {
        Tensor tensor = source.tensor(name);
        int columns = Math.toIntExact(tensor.size(tensor.axes() - 1));
        Matrix matrix = Matrix.allocate(arena, Math.toIntExact(rows), columns);
        long from = index * rows * columns;
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < columns; column++) {
                float value = tensor.getFloat(from + (long) row * columns + column);
                if (!Float.isFinite(value)) {
                    throw new FileFormatException(
                            source.origin() + ": " + name + ": expected finite values, found " + value);
                }
                matrix.set(row, column, value);
            }
        }
        return matrix;
    }
}
