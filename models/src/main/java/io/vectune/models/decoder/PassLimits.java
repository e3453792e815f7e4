package io.vectune.models.decoder;

/// The largest batch that a pass is made for.
///
/// @param tokens of all rows of a batch together
/// @param sequenceLength tokens of the longest row
public record PassLimits(int tokens, int sequenceLength) {
    public PassLimits {
        if (tokens < 1 || sequenceLength < 1 || sequenceLength > tokens) {
            throw new IllegalArgumentException(
                    "limits: expected 1 <= sequenceLength <= tokens, found sequenceLength="
                            + sequenceLength
                            + ", tokens="
                            + tokens);
        }
    }

    /// Batches of that many rows of that length.
    public static PassLimits of(int rows, int sequenceLength) {
        return new PassLimits(Math.multiplyExact(rows, sequenceLength), sequenceLength);
    }
}
