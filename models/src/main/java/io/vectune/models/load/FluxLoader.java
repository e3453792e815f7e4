package io.vectune.models.load;

import io.vectune.models.decoder.Linear;
import io.vectune.models.flux.DoubleStreamLayers;
import io.vectune.models.flux.EmbedderLayers;
import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.SingleStreamLayers;
import io.vectune.models.flux.StreamLayers;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.JsonNode;

/// Opens Flux transformers: the directory that diffusers writes (config.json with `_class_name` FluxTransformer2DModel,
/// diffusion_pytorch_model.safetensors or its shards), or a pipeline's directory that has it as `transformer`.
public final class FluxLoader {
    private static final String CLASS_NAME = "FluxTransformer2DModel";

    private FluxLoader() {}

    /// The directory of the transformer in a path that a user gives: the path itself, or its subdirectory `transformer`
    /// in a pipeline.
    public static Path directory(Path path) {
        Path inner = path.resolve("transformer");
        boolean pipeline = !Files.isRegularFile(path.resolve("config.json")) && Files.isDirectory(inner);
        return pipeline ? inner : path;
    }

    /// Whether a path holds a Flux transformer, judged by its config.json alone.
    public static boolean isOne(Path path) {
        Path file = directory(path).resolve("config.json");
        if (!Files.isRegularFile(file)) {
            return false;
        }
        JsonNode name = JsonFields.read(file).get("_class_name");
        return name != null && name.isString() && name.stringValue().equals(CLASS_NAME);
    }

    /// Maps a transformer; weights may be dense or quantized in any format that checkpoints hold.
    ///
    /// @param arena owns the mappings and the small copies; a shared arena if several threads use the model
    /// @throws VectuneException if the path is no Flux transformer, or its files are malformed or incomplete
    public static FluxModel load(Path path, Arena arena) {
        Path directory = directory(path);
        Path file = directory.resolve("config.json");
        if (!Files.isRegularFile(file)) {
            throw new VectuneException(
                    path
                            + ": expected a Flux transformer's directory with config.json, found none; name the"
                            + " directory that diffusers calls transformer");
        }
        JsonFields fields = JsonFields.read(file);
        FluxConfig config = config(fields);
        CheckpointTensors tensors =
                new CheckpointTensors(
                        SafetensorsCheckpoint.open(directory, arena), arena, fields.get("quantization_config"));
        FluxModel model = new FluxTensors(config, tensors).model();
        tensors.requireAllTaken();
        return model;
    }

    static FluxConfig config(JsonFields fields) {
        String name = fields.text("_class_name", "");
        if (!name.equals(CLASS_NAME)) {
            throw new FileFormatException(
                    fields.origin()
                            + ": _class_name: expected "
                            + CLASS_NAME
                            + ", found "
                            + (name.isEmpty() ? "none" : name));
        }
        if (fields.integer("patch_size", 1) != 1) {
            throw new FileFormatException(
                    fields.origin() + ": patch_size: expected 1, found " + fields.integer("patch_size", 1));
        }
        int inChannels = fields.integer("in_channels", 64);
        try {
            return new FluxConfig(
                    inChannels,
                    fields.integer("out_channels", inChannels),
                    fields.integer("num_layers", 19),
                    fields.integer("num_single_layers", 38),
                    fields.integer("attention_head_dim", 128),
                    fields.integer("num_attention_heads", 24),
                    fields.integer("joint_attention_dim", 4096),
                    fields.integer("pooled_projection_dim", 768),
                    fields.flag("guidance_embeds", false),
                    axesDims(fields));
        } catch (IllegalArgumentException contradiction) {
            throw new FileFormatException(fields.origin() + ": " + contradiction.getMessage(), contradiction);
        }
    }

    private static List<Integer> axesDims(JsonFields fields) {
        JsonNode value = fields.get("axes_dims_rope");
        if (value == null) {
            return List.of(16, 56, 56);
        }
        List<Integer> dims = new ArrayList<>();
        for (JsonNode element : value) {
            if (!element.isIntegralNumber() || !element.canConvertToInt()) {
                throw new FileFormatException(
                        fields.origin() + ": axes_dims_rope: expected a list of integers, found " + value);
            }
            dims.add(element.intValue());
        }
        return dims;
    }

    /// Takes the modules of one transformer by their names in diffusers.
    private record FluxTensors(FluxConfig config, CheckpointTensors tensors) {
        FluxModel model() {
            int dim = config.innerDim();
            String time = "time_text_embed.";
            List<DoubleStreamLayers> doubles = new ArrayList<>();
            for (int index = 0; index < config.numLayers(); index++) {
                doubles.add(doubleStream("transformer_blocks." + index + "."));
            }
            List<SingleStreamLayers> singles = new ArrayList<>();
            for (int index = 0; index < config.numSingleLayers(); index++) {
                singles.add(singleStream("single_transformer_blocks." + index + "."));
            }
            return new FluxModel(
                    config,
                    linear(FluxModel.X_EMBEDDER, dim, config.inChannels()),
                    linear("context_embedder", dim, config.jointAttentionDim()),
                    embedder(time + "timestep_embedder.", FluxConfig.TIMESTEP_CHANNELS),
                    config.guidanceEmbeds()
                            ? embedder(time + "guidance_embedder.", FluxConfig.TIMESTEP_CHANNELS)
                            : null,
                    embedder(time + "text_embedder.", config.pooledProjectionDim()),
                    doubles,
                    singles,
                    linear("norm_out.linear", 2 * dim, dim),
                    linear("proj_out", config.outChannels(), dim));
        }

        private EmbedderLayers embedder(String prefix, int inFeatures) {
            int dim = config.innerDim();
            return new EmbedderLayers(
                    linear(prefix + "linear_1", dim, inFeatures), linear(prefix + "linear_2", dim, dim));
        }

        private DoubleStreamLayers doubleStream(String prefix) {
            StreamLayers image =
                    stream(prefix, "norm1.linear", "to_q", "to_k", "to_v", "norm_q", "norm_k", "to_out.0", "ff.");
            StreamLayers text =
                    stream(
                            prefix,
                            "norm1_context.linear",
                            "add_q_proj",
                            "add_k_proj",
                            "add_v_proj",
                            "norm_added_q",
                            "norm_added_k",
                            "to_add_out",
                            "ff_context.");
            return new DoubleStreamLayers(image, text);
        }

        private StreamLayers stream(
                String prefix,
                String modulation,
                String query,
                String key,
                String value,
                String queryNorm,
                String keyNorm,
                String out,
                String mlp) {
            int dim = config.innerDim();
            String attention = prefix + "attn.";
            return new StreamLayers(
                    linear(prefix + modulation, 6 * dim, dim),
                    linear(attention + query, dim, dim),
                    linear(attention + key, dim, dim),
                    linear(attention + value, dim, dim),
                    norm(attention + queryNorm),
                    norm(attention + keyNorm),
                    attention + queryNorm,
                    attention + keyNorm,
                    linear(attention + out, dim, dim),
                    linear(prefix + mlp + "net.0.proj", config.mlpDim(), dim),
                    linear(prefix + mlp + "net.2", dim, config.mlpDim()));
        }

        private SingleStreamLayers singleStream(String prefix) {
            int dim = config.innerDim();
            String attention = prefix + "attn.";
            return new SingleStreamLayers(
                    linear(prefix + "norm.linear", 3 * dim, dim),
                    linear(attention + "to_q", dim, dim),
                    linear(attention + "to_k", dim, dim),
                    linear(attention + "to_v", dim, dim),
                    norm(attention + "norm_q"),
                    norm(attention + "norm_k"),
                    attention + "norm_q",
                    attention + "norm_k",
                    linear(prefix + "proj_mlp", config.mlpDim(), dim),
                    linear(prefix + "proj_out", dim, dim + config.mlpDim()));
        }

        private Matrix norm(String name) {
            return tensors.vector(name + ".weight", config.headDim());
        }

        private Linear linear(String name, int outFeatures, int inFeatures) {
            return new Linear(
                    name, tensors.weight(name, outFeatures, inFeatures), tensors.vector(name + ".bias", outFeatures));
        }
    }
}
