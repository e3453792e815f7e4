package io.vectune.models.flux.file;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.adapters.AdapterSet;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// Writes a trained LoRA of a Flux transformer as diffusers stores it: keys `transformer.<module>.lora_A.weight`, the
/// configuration in the file's metadata.
public final class FluxAdapterWriter {
    private static final String PREFIX = "transformer.";

    private FluxAdapterWriter() {}

    /// @param norms norms of queries and keys that belong to the adapter, by name without `.weight`
    /// @param path a .safetensors file, or a directory for one under the name that diffusers looks for
    /// @throws VectuneException if it is no LoRA, or the file cannot be written
    public static void write(AdapterSet set, Map<String, Matrix> norms, Path path) {
        Path file = path.toString().endsWith(".safetensors") ? path : path.resolve(FluxAdapterFile.DIFFUSERS_FILE);
        try (Arena arena = Arena.ofShared()) {
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            for (Map.Entry<String, Adapter> entry : set.adapters().entrySet()) {
                if (!entry.getValue().kind().equals("lora")) {
                    throw new VectuneException(
                            entry.getKey()
                                    + ": expected a lora, as diffusers stores no other adapter of this model, found "
                                    + entry.getValue().kind());
                }
                for (AdapterParameter parameter : entry.getValue().parameters()) {
                    Stored stored = parameter.stored();
                    if (stored != null) {
                        tensors.put(
                                PREFIX + entry.getKey() + "." + stored.key(),
                                tensor(parameter.values(), stored, arena));
                    }
                }
            }
            norms.forEach((name, values) -> tensors.put(PREFIX + name + ".weight", vector(values, arena)));
            Map<String, @Nullable Object> fields = new TreeMap<>();
            set.config().fields().forEach((name, value) -> fields.put(PREFIX + name, value));
            fields.remove(PREFIX + "task_type");
            String json = StrictJson.mapper().writeValueAsString(fields);
            SafetensorsWriter.write(file, tensors, Map.of("format", "pt", AlphaRule.METADATA, json));
        }
    }

    private static Tensor vector(Matrix row, Arena arena) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, row.columns());
        tensor.asMatrix().copyFrom(row);
        return tensor;
    }

    private static Tensor tensor(Matrix values, Stored stored, Arena arena) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, stored.shape());
        Matrix target = Matrix.of(tensor.segment(), 0, values.rows(), values.columns(), values.columns());
        target.copyFrom(values);
        return tensor;
    }
}
