package io.vectune.models.data;

/// How a file becomes rows.
///
/// @param maxLength most tokens of a row: longer rows lose their end, a .txt document is cut into rows of this length
/// @param appendEos whether the end-of-text token goes behind `text` and `completion` where it is not there already
/// @param vocabularySize ids must lie below it: the rows of the model's embedding
public record DataOptions(int maxLength, boolean appendEos, int vocabularySize) {
    public DataOptions {
        if (maxLength < 2) {
            throw new IllegalArgumentException(
                    "max length: expected at least 2 tokens (one to see, one to predict), found " + maxLength);
        }
        if (vocabularySize < 1) {
            throw new IllegalArgumentException("vocabulary size: expected at least 1, found " + vocabularySize);
        }
    }
}
