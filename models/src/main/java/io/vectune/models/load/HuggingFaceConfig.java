package io.vectune.models.load;

import io.vectune.models.decoder.DecoderArchitecture;
import io.vectune.models.decoder.DecoderConfig;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.nn.RotaryScaling;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// Reads config.json as transformers 4 and 5 write it. Fields that are absent have the defaults of the configuration
/// classes of transformers.
final class HuggingFaceConfig {
    private static final double DEFAULT_ROPE_THETA = 10_000;
    private static final int LLAMA_CONTEXT = 2048;
    private static final int QWEN_CONTEXT = 32_768;
    private static final int QWEN3_HEAD_DIM = 128;

    private HuggingFaceConfig() {}

    /// @throws FileFormatException naming the file and the field that is missing or cannot be used
    static DecoderConfig of(JsonFields fields) {
        DecoderArchitecture architecture = architecture(fields);
        String activation = fields.text("hidden_act", "silu");
        if (!activation.equals("silu") && !activation.equals("swish")) {
            throw new FileFormatException(
                    fields.origin() + ": hidden_act: expected silu, found " + activation + ", which is not supported");
        }
        if (fields.flag("use_sliding_window", false)) {
            throw new FileFormatException(
                    fields.origin()
                            + ": use_sliding_window: expected false, found true; sliding windows are not"
                            + " supported");
        }
        boolean qwen = architecture != DecoderArchitecture.LLAMA;
        int hiddenSize = fields.needInt("hidden_size");
        int heads = fields.needInt("num_attention_heads");
        int headDim =
                architecture == DecoderArchitecture.QWEN3
                        ? fields.integer("head_dim", QWEN3_HEAD_DIM)
                        : fields.integer("head_dim", heads > 0 ? hiddenSize / heads : 0);
        if (heads > 0 && !fields.has("head_dim") && hiddenSize % heads != 0) {
            throw new FileFormatException(
                    fields.origin()
                            + ": hidden_size: expected a multiple of num_attention_heads "
                            + heads
                            + " as there is no head_dim, found "
                            + hiddenSize);
        }
        boolean attentionBias = architecture == DecoderArchitecture.QWEN2 || fields.flag("attention_bias", false);
        boolean outputBias = architecture != DecoderArchitecture.QWEN2 && attentionBias;
        try {
            return new DecoderConfig(
                    architecture,
                    hiddenSize,
                    fields.needInt("intermediate_size"),
                    fields.needInt("num_hidden_layers"),
                    heads,
                    fields.integer("num_key_value_heads", heads),
                    headDim,
                    fields.needInt("vocab_size"),
                    fields.integer("max_position_embeddings", qwen ? QWEN_CONTEXT : LLAMA_CONTEXT),
                    (float) fields.needDouble("rms_norm_eps"),
                    ropeTheta(fields),
                    ropeScaling(fields),
                    fields.flag("tie_word_embeddings", false),
                    attentionBias,
                    outputBias,
                    !qwen && fields.flag("mlp_bias", false),
                    architecture == DecoderArchitecture.QWEN3);
        } catch (IllegalArgumentException contradiction) {
            throw new FileFormatException(fields.origin() + ": " + contradiction.getMessage(), contradiction);
        }
    }

    private static DecoderArchitecture architecture(JsonFields fields) {
        String name = fields.text("model_type", "");
        JsonNode classes = fields.get("architectures");
        if (classes != null && classes.isArray() && !classes.isEmpty()) {
            name = classes.get(0).asString();
        }
        String ofDiffusers = fields.text("_class_name", "");
        if (name.isEmpty() && !ofDiffusers.isEmpty()) {
            throw new FileFormatException(
                    fields.origin()
                            + ": expected a language model, found "
                            + ofDiffusers
                            + " of diffusers; Flux transformers are for flux step, info, quantize, merge and tune");
        }
        if (name.isEmpty()) {
            throw new FileFormatException(
                    fields.origin()
                            + ": the fields architectures and model_type are missing; one of them must name the"
                            + " model");
        }
        String found = name;
        return DecoderArchitecture.ofName(name)
                .orElseThrow(() ->
                        new FileFormatException(
                                fields.origin()
                                        + ": architecture "
                                        + found
                                        + " is not supported; supported are "
                                        + supported()));
    }

    static String supported() {
        return Arrays.stream(DecoderArchitecture.values())
                .map(DecoderArchitecture::className)
                .collect(Collectors.joining(", "));
    }

    /// transformers 4 has `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters` with both; where a file has
    /// all of them, transformers takes the first two.
    private static @Nullable JsonFields rope(JsonFields fields) {
        JsonFields parameters = fields.child("rope_parameters");
        JsonFields scaling = fields.child("rope_scaling");
        return scaling == null || scaling.object().isEmpty() ? parameters : scaling;
    }

    private static double ropeTheta(JsonFields fields) {
        JsonFields rope = rope(fields);
        double flat = fields.number("rope_theta", DEFAULT_ROPE_THETA);
        return rope == null ? flat : rope.number("rope_theta", flat);
    }

    private static RotaryScaling ropeScaling(JsonFields fields) {
        JsonFields rope = rope(fields);
        if (rope == null) {
            return new RotaryScaling.None();
        }
        if (rope.number("partial_rotary_factor", 1) != 1) {
            throw new FileFormatException(
                    rope.origin()
                            + ": partial_rotary_factor: expected 1, found "
                            + rope.number("partial_rotary_factor", 1));
        }
        String type = rope.text("rope_type", rope.text("type", "default")).toLowerCase(Locale.ROOT);
        try {
            return switch (type) {
                case "default" -> new RotaryScaling.None();
                case "linear" -> new RotaryScaling.Linear((float) rope.needDouble("factor"));
                case "llama3" ->
                        new RotaryScaling.Llama3(
                                (float) rope.needDouble("factor"),
                                (float) rope.needDouble("low_freq_factor"),
                                (float) rope.needDouble("high_freq_factor"),
                                rope.needInt("original_max_position_embeddings"));
                default ->
                        throw new FileFormatException(
                                rope.origin()
                                        + ": rope_type "
                                        + type
                                        + " is not supported; supported are default, linear and llama3");
            };
        } catch (IllegalArgumentException contradiction) {
            throw new FileFormatException(rope.origin() + ": " + contradiction.getMessage(), contradiction);
        }
    }

    /// The tokens that end a text and the sampling defaults, from generation_config.json where it is there, else from
    /// config.json.
    static GenerationDefaults generation(Path directory) {
        Path file = directory.resolve("generation_config.json");
        JsonFields config = JsonFields.read(directory.resolve("config.json"));
        JsonFields fields = file.toFile().isFile() ? JsonFields.read(file) : config;
        var ends = fields.integers("eos_token_id");
        if (ends.isEmpty()) {
            ends = config.integers("eos_token_id");
        }
        try {
            return new GenerationDefaults(
                    ends,
                    fields.flag("do_sample", false),
                    (float) fields.number("temperature", 1),
                    fields.integer("top_k", 50),
                    (float) fields.number("top_p", 1),
                    (float) fields.number("repetition_penalty", 1));
        } catch (IllegalArgumentException contradiction) {
            throw new VectuneException(fields.origin() + ": " + contradiction.getMessage(), contradiction);
        }
    }
}
