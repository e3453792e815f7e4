package io.vectune.models.checkpoint;

import io.vectune.quant.LoadContext;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// What a model directory holds beside its weights.
final class ModelFiles {
    static final String CONFIG = "config.json";

    /// The field of config.json that says how layers are quantized.
    static final String QUANTIZATION = "quantization_config";

    private static final Pattern WEIGHTS =
            Pattern.compile(
                    ".*\\.(safetensors|safetensors\\.index\\.json|bin|bin\\.index\\.json|pt|pth|gguf|msgpack|h5|onnx)");

    private ModelFiles() {}

    /// What the weight files are called: `diffusion_pytorch_model` in diffusers' directories, else `model`.
    static String stem(Path directory) {
        boolean diffusers =
                Files.exists(directory.resolve("diffusion_pytorch_model.safetensors"))
                        || Files.exists(directory.resolve("diffusion_pytorch_model.safetensors.index.json"));
        return diffusers ? "diffusion_pytorch_model" : "model";
    }

    /// Copies all plain files but weights and config.json: tokenizer, chat template, generation_config.json, licenses.
    static void copyBeside(Path from, Path to) {
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(from)) {
            for (Path entry : entries) {
                String name = String.valueOf(entry.getFileName());
                if (Files.isRegularFile(entry)
                        && !name.equals(CONFIG)
                        && !name.equals(QuantizationReport.FILE)
                        && !name.startsWith(".")
                        && !WEIGHTS.matcher(name).matches()) {
                    Files.copy(entry, to.resolve(name));
                }
            }
        } catch (IOException failure) {
            throw FileFailure.writing(to, failure);
        }
    }

    /// Writes config.json with another `quantization_config`, all else as it was.
    ///
    /// @param quantization null to take it out
    static void writeConfig(Path from, Path to, @Nullable ObjectNode quantization) {
        Path file = from.resolve(CONFIG);
        if (!Files.isRegularFile(file)) {
            return;
        }
        ObjectNode config = StrictJson.readObject(file);
        if (quantization == null) {
            config.remove(QUANTIZATION);
        } else {
            config.set(QUANTIZATION, quantization);
        }
        StrictJson.write(to.resolve(CONFIG), config);
    }

    /// Writes the config.json of a merged model: in another type, its head untied.
    ///
    /// @param dtype null to keep what it says
    /// @param quantized whether its layers stay quantized
    static void writeMergedConfig(Path from, Path to, @Nullable DType dtype, boolean untied, boolean quantized) {
        Path file = from.resolve(CONFIG);
        if (!Files.isRegularFile(file)) {
            return;
        }
        ObjectNode config = StrictJson.readObject(file);
        if (!quantized) {
            config.remove(QUANTIZATION);
        }
        if (untied) {
            config.put("tie_word_embeddings", false);
        }
        if (dtype != null) {
            String name =
                    switch (dtype) {
                        case BF16 -> "bfloat16";
                        case F16 -> "float16";
                        default -> "float32";
                    };
            config.put(config.has("torch_dtype") ? "torch_dtype" : "dtype", name);
        }
        StrictJson.write(to.resolve(CONFIG), config);
    }

    /// Adds layers that are dense to the list of those that the Python libraries leave alone.
    static void addSkippedModules(ObjectNode quantization, List<String> layers) {
        boolean bitsandbytes = quantization.path("quant_method").asString("").equals("bitsandbytes");
        String field = bitsandbytes ? "llm_int8_skip_modules" : "skip_modules";
        ArrayNode skipped = quantization.get(field) instanceof ArrayNode known ? known : quantization.putArray(field);
        layers.forEach(skipped::add);
    }

    /// What config.json says about quantized layers.
    static LoadContext quantization(Path directory, Arena arena) {
        Path file = directory.resolve(CONFIG);
        return Files.isRegularFile(file)
                ? new LoadContext(arena, StrictJson.readObject(file).get(QUANTIZATION))
                : LoadContext.of(arena);
    }
}
