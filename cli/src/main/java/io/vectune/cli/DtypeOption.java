package io.vectune.cli;

import io.vectune.runtime.tensor.DType;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// The value of `--dtype`: `f32`, `bf16` or `f16`.
final class DtypeOption {
    private DtypeOption() {}

    /// The type, or null if none was asked for.
    ///
    /// @throws UsageException for another text
    static @Nullable DType parse(@Nullable String text) {
        if (text == null) {
            return null;
        }
        return switch (text.toLowerCase(Locale.ROOT)) {
            case "f32", "float32" -> DType.F32;
            case "bf16", "bfloat16" -> DType.BF16;
            case "f16", "float16" -> DType.F16;
            default -> throw new UsageException("--dtype: expected f32, bf16 or f16, found \"" + text + "\"");
        };
    }
}
