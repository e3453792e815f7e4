package io.vectune.models.load;

import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.quant.gguf.GgufFile;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.safetensors.TensorSource;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/// Opens models: a Hugging Face directory (config.json, model.safetensors or shards with their index), a directory that
/// hqq saved (config.json, qmodel.pt) or its qmodel.pt, or a GGUF file.
public final class ModelLoader {
    private ModelLoader() {}

    /// Maps a model.
    ///
    /// @param path a Hugging Face directory or a .gguf file
    /// @param arena owns the mappings and the small copies; a shared arena if several threads use the model
    /// @throws VectuneException if the path is no model, or its files are malformed, incomplete or unsupported
    public static LoadedModel load(Path path, Arena arena) {
        if (Files.isDirectory(path)) {
            requireConfig(path);
            return loadDirectory(path, ModelTensors.open(path, arena), arena);
        }
        if (!Files.exists(path)) {
            throw new VectuneException(
                    path + ": no such file or directory; expected a model directory or a .gguf file");
        }
        Path directory = path.toAbsolutePath().getParent();
        if (ModelTensors.isPickled(path) && directory != null) {
            return loadDirectory(directory, ModelTensors.open(path, arena), arena);
        }
        if (!path.toString().toLowerCase(Locale.ROOT).endsWith(".gguf")) {
            throw new VectuneException(
                    path
                            + ": expected a Hugging Face model directory with config.json or a .gguf file, found another"
                            + " file");
        }
        GgufFile file = GgufFile.open(path, arena);
        return new LoadedModel(path, GgufModel.build(file, arena), GgufModel.generation(file));
    }

    private static Path requireConfig(Path directory) {
        Path file = directory.resolve("config.json");
        if (!Files.isRegularFile(file)) {
            throw new VectuneException(directory + ": has no config.json; expected a Hugging Face model directory");
        }
        return file;
    }

    private static LoadedModel loadDirectory(Path directory, TensorSource source, Arena arena) {
        Path file = requireConfig(directory);
        JsonFields fields = JsonFields.read(file);
        DecoderConfig config = HuggingFaceConfig.of(fields);
        CheckpointTensors tensors = new CheckpointTensors(source, arena, fields.get("quantization_config"));
        DecoderModel decoder = HuggingFaceModel.build(config, tensors);
        return new LoadedModel(directory, decoder, HuggingFaceConfig.generation(directory));
    }
}
