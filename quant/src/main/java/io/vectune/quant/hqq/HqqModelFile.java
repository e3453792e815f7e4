package io.vectune.quant.hqq;

import io.vectune.quant.torch.TorchFile;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/// A model as hqq's `save_quantized` stores it, `qmodel.pt`, seen as the tensors of a safetensors checkpoint.
///
/// The file is a pickle of one dictionary a module. That of a quantized layer holds plain values, in the form of today
/// or in that of hqq up to 0.1.8 (`W_q`, `meta`, `bias`), with plain, quantized or stacked scales and zero points; here
/// it appears as the tensors that [HqqFormat] reads. Any other module shows its tensors: `NAME.weight`, ... Read only.
public final class HqqModelFile implements TensorSource {
    private final Path path;
    private final Map<String, Tensor> tensors;

    private HqqModelFile(Path path, Map<String, Tensor> tensors) {
        this.path = path;
        this.tensors = Collections.unmodifiableMap(tensors);
    }

    /// Maps a file.
    ///
    /// @param arena owns the mapping and what is derived from it
    /// @throws FileFormatException if the file is damaged, names anything but plain data, or holds a malformed layer
    public static HqqModelFile open(Path path, Arena arena) {
        Object content = TorchFile.read(path, arena);
        Map<String, Object> modules =
                PickledState.dictionary(content)
                        .orElseThrow(() -> new FileFormatException(path + ": expected a dictionary of modules of hqq"));
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        modules.forEach((name, value) -> {
            if (value instanceof Tensor tensor) {
                tensors.put(name, tensor);
                return;
            }
            Map<String, Object> entries =
                    PickledState.dictionary(value)
                            .orElseThrow(() ->
                                    new FileFormatException(path + ": " + name + ": expected a dictionary of tensors"));
            addModule(path, name, entries, tensors, arena);
        });
        return new HqqModelFile(path, tensors);
    }

    private static void addModule(
            Path path, String name, Map<String, Object> entries, Map<String, Tensor> tensors, Arena arena) {
        if (!entries.containsKey("W_q")) {
            entries.forEach((key, value) -> {
                if (value instanceof Tensor tensor) {
                    tensors.put(name + "." + key, tensor);
                }
            });
            return;
        }
        Map<String, Object> layer = new LinkedHashMap<>(entries);
        Object meta = entries.get("meta");
        if (meta != null) {
            PickledState.dictionary(meta).ifPresent(layer::putAll);
        }
        HqqWeight weight = HqqStateReader.read(new PickledState(path.toString(), name, layer), arena);
        tensors.putAll(weight.tensors(name, arena));
        if (entries.get("bias") instanceof Tensor bias) {
            tensors.put(name + ".bias", bias);
        }
    }

    @Override
    public Set<String> names() {
        return tensors.keySet();
    }

    @Override
    public Tensor tensor(String name) {
        Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw missing(name);
        }
        return tensor;
    }

    @Override
    public Map<String, String> metadata() {
        return Map.of();
    }

    @Override
    public String origin() {
        return path.toString();
    }
}
