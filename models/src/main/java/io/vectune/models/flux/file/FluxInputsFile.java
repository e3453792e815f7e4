package io.vectune.models.flux.file;

import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxInputs;
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

/// Reads what a Flux transformer is given from a safetensors file, with the names and shapes of diffusers' forward:
///
/// | tensor | shape |
/// |---|---|
/// | hidden_states | [batch, image tokens, in_channels] |
/// | encoder_hidden_states | [batch, text tokens, joint_attention_dim] |
/// | pooled_projections | [batch, pooled_projection_dim] |
/// | timestep | [batch], 0 to 1 |
/// | guidance | [batch], for models with a guidance embedding |
/// | img_ids, txt_ids | [tokens, axes], for all samples |
public final class FluxInputsFile {
    private final TensorSource source;
    private final Arena arena;

    private FluxInputsFile(TensorSource source, Arena arena) {
        this.source = source;
        this.arena = arena;
    }

    /// Reads all samples.
    ///
    /// @param arena owns the copies
    /// @throws VectuneException if a tensor is missing, or its shape does not fit the model; the message names it
    public static List<FluxInputs> read(Path file, FluxConfig config, Arena arena) {
        try (Arena mapping = Arena.ofShared()) {
            return new FluxInputsFile(SafetensorsFile.open(file, mapping), arena).read(config);
        }
    }

    private List<FluxInputs> read(FluxConfig config) {
        Tensor hidden = source.tensor("hidden_states");
        if (hidden.axes() != 3 || hidden.size(2) != config.inChannels()) {
            String hint =
                    hidden.axes() == 3 && hidden.size(2) > config.inChannels()
                            ? "; a wider input needs the Control LoRA that reads it (--adapter)"
                            : "";
            throw wrong("hidden_states", hidden, hint, "batch", "image tokens", config.inChannels());
        }
        long batch = hidden.size(0);
        long image = hidden.size(1);
        Tensor encoder = source.tensor("encoder_hidden_states");
        if (encoder.axes() != 3 || encoder.size(0) != batch || encoder.size(2) != config.jointAttentionDim()) {
            throw wrong("encoder_hidden_states", encoder, "", batch, "text tokens", config.jointAttentionDim());
        }
        long text = encoder.size(1);
        requireShape("pooled_projections", batch, config.pooledProjectionDim());
        requireShape("timestep", batch);
        if (config.guidanceEmbeds()) {
            requireShape("guidance", batch);
        } else if (source.contains("guidance")) {
            throw new FileFormatException(
                    source.origin()
                            + ": guidance: expected none, as the model has no guidance embedding, found "
                            + source.tensor("guidance"));
        }
        Matrix imageIds = ids("img_ids", image, config.axesDims().size());
        Matrix textIds = ids("txt_ids", text, config.axesDims().size());
        List<FluxInputs> samples = new ArrayList<>();
        for (int sample = 0; sample < batch; sample++) {
            Float guidance = config.guidanceEmbeds() ? (Float) source.tensor("guidance").getFloat(sample) : null;
            samples.add(
                    new FluxInputs(
                            sample("hidden_states", sample, image, config.inChannels()),
                            sample("encoder_hidden_states", sample, text, config.jointAttentionDim()),
                            sample("pooled_projections", sample, 1, config.pooledProjectionDim()),
                            source.tensor("timestep").getFloat(sample),
                            guidance,
                            imageIds,
                            textIds));
        }
        return samples;
    }

    private Matrix ids(String name, long rows, int axes) {
        Tensor tensor = source.tensor(name);
        boolean batched = tensor.axes() == 3;
        long[] expected = batched ? new long[] {tensor.size(0), rows, axes} : new long[] {rows, axes};
        if (!Arrays.equals(tensor.shape(), expected) || (batched && tensor.size(0) == 0)) {
            throw wrong(name, tensor, "", rows, axes);
        }
        return sample(name, 0, rows, axes);
    }

    private void requireShape(String name, long... shape) {
        Tensor tensor = source.tensor(name);
        if (!Arrays.equals(tensor.shape(), shape)) {
            throw wrong(name, tensor, "", Arrays.stream(shape).boxed().toArray());
        }
    }

    private FileFormatException wrong(String name, Tensor found, String hint, Object... expected) {
        return new FileFormatException(
                source.origin()
                        + ": "
                        + name
                        + ": expected the shape "
                        + Arrays.toString(expected)
                        + ", found "
                        + Arrays.toString(found.shape())
                        + hint);
    }

    /// One sample of a tensor as a matrix.
    private Matrix sample(String name, int sample, long rows, int columns) {
        Tensor tensor = source.tensor(name);
        if (!tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    source.origin() + ": " + name + ": expected F32, F16 or BF16, found " + tensor.dtype());
        }
        Matrix matrix = Matrix.allocate(arena, Math.toIntExact(rows), columns);
        long from = sample * rows * columns;
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
