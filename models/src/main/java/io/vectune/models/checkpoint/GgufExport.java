package io.vectune.models.checkpoint;

import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderLayer;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.models.load.LoadedModel;
import io.vectune.models.load.ModelLoader;
import io.vectune.models.text.GgufTokenizerFiles;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.gguf.GgufFile;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.nn.RotaryScaling;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DecodedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeSet;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Turns a GGUF file into a Hugging Face directory with dense weights: tensors under the names and in the row order of
/// transformers, config.json, generation_config.json and the tokenizer.
public final class GgufExport {
    private final DecoderModel model;
    private final DType dtype;
    private final SequencedMap<String, Weight> weights = new LinkedHashMap<>();
    private final SequencedMap<String, Matrix> vectors = new LinkedHashMap<>();

    private GgufExport(DecoderModel model, DType dtype) {
        this.model = model;
        this.dtype = dtype;
        weights.put(DecoderModel.EMBEDDING, model.embedding());
        for (DecoderLayer layer : model.layers()) {
            String prefix = "model.layers." + layer.index() + ".";
            vectors.put(prefix + "input_layernorm.weight", layer.inputNorm());
            putIfPresent(prefix + "self_attn.q_norm.weight", layer.queryNorm());
            putIfPresent(prefix + "self_attn.k_norm.weight", layer.keyNorm());
            vectors.put(prefix + "post_attention_layernorm.weight", layer.postAttentionNorm());
        }
        vectors.put("model.norm.weight", model.norm());
        for (Linear linear : model.linears()) {
            if (!(linear.name().equals(DecoderModel.HEAD) && model.isTied())) {
                weights.put(linear.name(), linear.weight());
                putIfPresent(linear.name() + ".bias", linear.bias());
            }
        }
    }

    private void putIfPresent(String name, @Nullable Matrix values) {
        if (values != null) {
            vectors.put(name, values);
        }
    }

    /// Writes the directory.
    ///
    /// @param dtype of all tensors; null for F32, in which every GGUF block decodes exactly
    /// @param force whether an output directory that holds something is accepted
    /// @param progress gets the name of each weight when it is done
    /// @return number of weights
    /// @throws io.vectune.runtime.VectuneException if the file is malformed or of an unsupported kind, or the result
    ///   cannot be written
    public static int directory(
            Path file, Path out, boolean force, @Nullable DType dtype, Compute compute, Consumer<String> progress) {
        try (Arena arena = Arena.ofShared();
                OutputDirectory directory = OutputDirectory.create(out, force)) {
            LoadedModel loaded = ModelLoader.load(file, arena);
            GgufExport job = new GgufExport(loaded.decoder(), dtype == null ? DType.F32 : dtype);
            try (CheckpointWriter writer =
                    new CheckpointWriter(directory.path(), "model", job.specs(), Map.of("format", "pt"))) {
                job.run(compute, writer, progress);
                writer.commit();
            }
            GgufTokenizerFiles.write(GgufFile.open(file, arena), directory.path());
            StrictJson.write(directory.path().resolve(ModelFiles.CONFIG), job.config(loaded));
            ObjectNode generation = JsonNodeFactory.instance.objectNode();
            putEnds(generation, loaded);
            StrictJson.write(directory.path().resolve("generation_config.json"), generation);
            directory.commit();
            return job.weights.size();
        }
    }

    private SequencedMap<String, TensorSpec> specs() {
        SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
        weights.forEach((name, weight) ->
                specs.put(name + ".weight", TensorSpec.of(dtype, weight.outFeatures(), weight.inFeatures())));
        vectors.forEach((name, values) -> specs.put(name, TensorSpec.of(dtype, values.columns())));
        return specs;
    }

    private void run(Compute compute, CheckpointWriter writer, Consumer<String> progress) {
        weights.forEach((name, weight) -> {
            try (Arena arena = Arena.ofShared()) {
                Tensor dense = DecodedWeight.of(compute, weight, arena);
                writer.write(name + ".weight", FloatCast.of(arena, dense, dtype).segment());
            }
            progress.accept(name);
        });
        vectors.forEach((name, values) -> {
            try (Arena arena = Arena.ofConfined()) {
                writer.write(name, FloatCast.of(arena, values, dtype).segment());
            }
        });
    }

    private ObjectNode config(LoadedModel loaded) {
        DecoderConfig config = model.config();
        ObjectNode root = JsonNodeFactory.instance.objectNode();
        root.putArray("architectures").add(config.architecture().className());
        root.put("model_type", config.architecture().modelType());
        root.put("vocab_size", config.vocabSize());
        root.put("hidden_size", config.hiddenSize());
        root.put("intermediate_size", config.intermediateSize());
        root.put("num_hidden_layers", config.numHiddenLayers());
        root.put("num_attention_heads", config.numAttentionHeads());
        root.put("num_key_value_heads", config.numKeyValueHeads());
        root.put("head_dim", config.headDim());
        root.put("hidden_act", "silu");
        root.put("max_position_embeddings", config.maxPositionEmbeddings());
        root.put("rms_norm_eps", Double.parseDouble(Float.toString(config.rmsNormEps())));
        root.put("attention_bias", config.attentionBias());
        root.put("mlp_bias", config.mlpBias());
        root.put("tie_word_embeddings", config.tieWordEmbeddings());
        root.put("rope_theta", config.ropeTheta());
        ObjectNode rope = rope(config.rotaryScaling());
        if (rope != null) {
            root.set("rope_scaling", rope);
        }
        root.put(
                "torch_dtype",
                switch (dtype) {
                    case BF16 -> "bfloat16";
                    case F16 -> "float16";
                    default -> "float32";
                });
        putEnds(root, loaded);
        return root;
    }

    private static @Nullable ObjectNode rope(RotaryScaling scaling) {
        ObjectNode rope = JsonNodeFactory.instance.objectNode();
        switch (scaling) {
            case RotaryScaling.None _ -> {
                return null;
            }
            case RotaryScaling.Linear linear -> {
                rope.put("rope_type", "linear");
                rope.put("factor", linear.factor());
            }
            case RotaryScaling.Llama3 llama -> {
                rope.put("rope_type", "llama3");
                rope.put("factor", llama.factor());
                rope.put("low_freq_factor", llama.lowFreqFactor());
                rope.put("high_freq_factor", llama.highFreqFactor());
                rope.put("original_max_position_embeddings", llama.originalMaxPositions());
            }
        }
        return rope;
    }

    private static void putEnds(ObjectNode node, LoadedModel loaded) {
        ArrayNode ends = node.putArray("eos_token_id");
        new TreeSet<>(loaded.generation().endTokens()).forEach(ends::add);
    }
}
