package io.vectune.models.text;

import org.jspecify.annotations.Nullable;

/// The named tokens of a model, each null where the model has none.
///
/// @param bos text that begins a sequence
/// @param eos text that ends one
/// @param pad text that fills a row up
/// @param unk text that stands for what has no token
public record SpecialTokens(@Nullable String bos, @Nullable String eos, @Nullable String pad, @Nullable String unk) {
    /// No named tokens.
    public static final SpecialTokens NONE = new SpecialTokens(null, null, null, null);
}
