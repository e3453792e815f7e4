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
    /// What diffusers' forward takes from a ControlNet.
    private static final List<String> NOT_SUPPORTED =
            List.of("controlnet_block_samples", "controlnet_single_block_samples");

    private final FloatTensors tensors;

    private FluxInputsFile(FloatTensors tensors) {
        this.tensors = tensors;
    }

    /// Reads all samples.
    ///
    /// @param arena owns the copies
    /// @throws VectuneException if a tensor is missing, or its shape does not fit the model; the message names it
    public static List<FluxInputs> read(Path file, FluxConfig config, Arena arena) {
        try (Arena mapping = Arena.ofShared()) {
            return new FluxInputsFile(new FloatTensors(SafetensorsFile.open(file, mapping), arena)).read(config);
        }
    }

    private List<FluxInputs> read(FluxConfig config) {
        TensorSource source = tensors.source();
        for (String name : NOT_SUPPORTED) {
            if (source.contains(name)) {
                throw new FileFormatException(
                        source.origin()
                                + ": "
                                + name
                                + ": expected no residuals of a ControlNet, which are not supported, found "
                                + source.tensor(name)
                                + "; leave it out of the file");
            }
        }
        Tensor hidden = tensors.floats("hidden_states");
        if (hidden.axes() != 3 || hidden.size(2) != config.inChannels()) {
            String hint = "";
            if (hidden.axes() == 3 && hidden.size(2) > config.inChannels()) {
                hint = "; a wider input needs the Control LoRA that reads it (--adapter)";
            } else if (hidden.axes() == 3 && hidden.size(2) == config.outChannels()) {
                hint = "; the wider input holds the packed control latents behind the latents";
            }
            throw tensors.wrongShape("hidden_states", hint, "batch", "image tokens", config.inChannels());
        }
        long batch = hidden.size(0);
        long image = hidden.size(1);
        Tensor encoder = tensors.floats("encoder_hidden_states");
        if (encoder.axes() != 3 || encoder.size(0) != batch || encoder.size(2) != config.jointAttentionDim()) {
            throw tensors.wrongShape("encoder_hidden_states", "", batch, "text tokens", config.jointAttentionDim());
        }
        long text = encoder.size(1);
        tensors.requireShape("pooled_projections", batch, config.pooledProjectionDim());
        tensors.requireShape("timestep", batch);
        if (config.guidanceEmbeds()) {
            tensors.requireShape("guidance", batch);
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
            Float guidance = config.guidanceEmbeds() ? (Float) number("guidance", sample) : null;
            samples.add(
                    new FluxInputs(
                            tensors.matrix("hidden_states", sample, image),
                            tensors.matrix("encoder_hidden_states", sample, text),
                            tensors.matrix("pooled_projections", sample, 1),
                            number("timestep", sample),
                            guidance,
                            imageIds,
                            textIds));
        }
        return samples;
    }

    private float number(String name, int sample) {
        float value = tensors.source().tensor(name).getFloat(sample);
        if (!Float.isFinite(value)) {
            throw tensors.notFinite(name, value);
        }
        return value;
    }

    /// Positions (tokens, axes), or the same for each sample: (batch, tokens, axes).
    private Matrix ids(String name, long rows, int axes) {
        Tensor tensor = tensors.floats(name);
        boolean batched = tensor.axes() == 3;
        long[] expected = batched ? new long[] {tensor.size(0), rows, axes} : new long[] {rows, axes};
        if (!Arrays.equals(tensor.shape(), expected) || (batched && tensor.size(0) == 0)) {
            throw tensors.wrongShape(name, "", rows, axes);
        }
        return tensors.matrix(name, 0, rows);
    }
}
