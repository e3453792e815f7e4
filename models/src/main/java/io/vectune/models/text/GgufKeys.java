package io.vectune.models.text;

import java.util.List;

/// The metadata of a GGUF file as far as a tokenizer needs it.
public interface GgufKeys {
    /// What messages call the file.
    String origin();

    boolean has(String key);

    String string(String key);

    int integer(String key);

    boolean flag(String key);

    List<String> strings(String key);

    int[] integers(String key);
}
