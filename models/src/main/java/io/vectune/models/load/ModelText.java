package io.vectune.models.load;

import io.vectune.models.chat.ChatTemplate;
import io.vectune.models.data.TextTools;
import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.GgufTokenizer;
import io.vectune.models.text.Tokenizer;
import io.vectune.quant.gguf.GgufFile;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// The text side of a model, read when it is first asked for: its tokenizer, and its chat format if it has one.
///
/// Immutable once read; not for use by two threads before its first answer.
public final class ModelText implements TextTools {
    private final Path model;
    private @Nullable Tokenizer tokenizer;
    private @Nullable ChatFormat chat;

    private ModelText(Path model) {
        this.model = model;
    }

    /// The text side of a model directory, a GGUF file, or a qmodel.pt beside its tokenizer. Reads nothing yet.
    public static ModelText of(Path model) {
        return new ModelText(model);
    }

    @Override
    public Tokenizer tokenizer() {
        Tokenizer read = tokenizer;
        if (read == null) {
            read = read();
            tokenizer = read;
        }
        return read;
    }

    @Override
    public @Nullable ChatFormat chat() {
        tokenizer();
        return chat;
    }

    private Tokenizer read() {
        Path parent = model.toAbsolutePath().getParent();
        if (Files.isDirectory(model) || (ModelTensors.isPickled(model) && parent != null)) {
            Path directory = Files.isDirectory(model) || parent == null ? model : parent;
            Tokenizer read = Tokenizer.load(directory);
            chat = ChatTemplate.find(directory, read.specialTokens()).orElse(null);
            return read;
        }
        try (Arena arena = Arena.ofShared()) {
            GgufFile file = GgufFile.open(model, arena);
            Tokenizer read = GgufTokenizer.of(file);
            if (file.metadata().has(GgufTokenizer.CHAT_TEMPLATE)) {
                chat =
                        ChatTemplate.of(
                                file.metadata().string(GgufTokenizer.CHAT_TEMPLATE),
                                read.specialTokens(),
                                model + ", " + GgufTokenizer.CHAT_TEMPLATE);
            }
            return read;
        }
    }
}
