package io.vectune.models.load;

import io.vectune.quant.hqq.HqqModelFile;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.safetensors.TensorSource;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/// The tensors of a model directory or a weights file, whatever holds them: safetensors, one file or shards, or the
/// `qmodel.pt` of hqq's `save_quantized`.
public final class ModelTensors {
    /// What hqq calls the weights in the directories it saves.
    public static final String HQQ_FILE = "qmodel.pt";

    private ModelTensors() {}

    /// Whether a path is a pickled model of hqq: `qmodel.pt`, or a directory that holds one and no safetensors.
    public static boolean isPickled(Path path) {
        if (!Files.isDirectory(path)) {
            return path.toString().toLowerCase(Locale.ROOT).endsWith(".pt");
        }
        return Files.isRegularFile(path.resolve(HQQ_FILE))
                && !Files.exists(path.resolve("model.safetensors"))
                && !Files.exists(path.resolve("model.safetensors.index.json"));
    }

    /// Maps the tensors of a directory or file.
    ///
    /// @param arena owns the mapping
    /// @throws io.vectune.runtime.VectuneException if there are none, or the files are damaged
    public static TensorSource open(Path path, Arena arena) {
        if (isPickled(path)) {
            return HqqModelFile.open(Files.isDirectory(path) ? path.resolve(HQQ_FILE) : path, arena);
        }
        return SafetensorsCheckpoint.open(path, arena);
    }
}
