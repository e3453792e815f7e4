package io.vectune.quant;

import java.lang.foreign.Arena;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// What loading a quantized weight needs beside its tensors.
///
/// @param arena holds what is derived from the tensors (scales as f32, ...)
/// @param quantizationConfig the `quantization_config` of config.json; null where there is none
public record LoadContext(Arena arena, @Nullable JsonNode quantizationConfig) {
    /// Without a config.json.
    public static LoadContext of(Arena arena) {
        return new LoadContext(arena, null);
    }
}
