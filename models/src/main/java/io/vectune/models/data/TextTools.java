package io.vectune.models.data;

import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.Tokenizer;
import org.jspecify.annotations.Nullable;

/// What turns text into tokens; asked for only where a file has text, so that rows of `input_ids` need no tokenizer.
public interface TextTools {
    /// The model's tokenizer.
    ///
    /// @throws io.vectune.runtime.VectuneException if the model has none that can be read
    Tokenizer tokenizer();

    /// The model's chat format; null if it has none.
    @Nullable ChatFormat chat();
}
