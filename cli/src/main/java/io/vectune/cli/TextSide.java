package io.vectune.cli;

import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.GgufTokenizer;
import io.vectune.models.text.Tokenizer;
import io.vectune.quant.gguf.GgufFile;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// The text side of a model: its tokenizer, and its chat format if it has one.
record TextSide(Tokenizer tokenizer, @Nullable ChatFormat chat) {
    /// Reads it from a model directory or a GGUF file.
    static TextSide of(Path model) {
        if (Files.isDirectory(model)) {
            return new TextSide(Tokenizer.load(model), null);
        }
        try (Arena arena = Arena.ofShared()) {
            GgufFile file = GgufFile.open(model, arena);
            return new TextSide(GgufTokenizer.of(file), null);
        }
    }
}
