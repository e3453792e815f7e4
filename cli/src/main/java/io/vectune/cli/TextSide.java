package io.vectune.cli;

import io.vectune.models.chat.ChatTemplate;
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
    private static final String TEMPLATE_KEY = "tokenizer.chat_template";

    /// Reads it from a model directory or a GGUF file.
    static TextSide of(Path model) {
        if (Files.isDirectory(model)) {
            Tokenizer tokenizer = Tokenizer.load(model);
            return new TextSide(
                    tokenizer,
                    ChatTemplate.find(model, tokenizer.specialTokens()).orElse(null));
        }
        try (Arena arena = Arena.ofShared()) {
            GgufFile file = GgufFile.open(model, arena);
            Tokenizer tokenizer = GgufTokenizer.of(file);
            ChatFormat chat = file.metadata().has(TEMPLATE_KEY)
                    ? ChatTemplate.of(
                            file.metadata().string(TEMPLATE_KEY),
                            tokenizer.specialTokens(),
                            model + ", " + TEMPLATE_KEY)
                    : null;
            return new TextSide(tokenizer, chat);
        }
    }
}
