package io.vectune.runtime.nn;

/// Heads of a grouped-query attention: query head h reads key and value head h / (heads / keyValueHeads).
///
/// A decoder's attention is causal: a row sees the rows of its sequence up to itself. In a joint attention, as image
/// transformers use it, each row sees the whole sequence.
///
/// @param heads query heads
/// @param keyValueHeads key and value heads, a divisor of `heads`
/// @param headDim features of one head
/// @param causal whether a row sees only the rows up to itself
public record AttentionShape(int heads, int keyValueHeads, int headDim, boolean causal) {
    public AttentionShape {
        if (headDim < 1) {
            throw new IllegalArgumentException("headDim: expected at least 1, found " + headDim);
        }
        if (keyValueHeads < 1 || heads < keyValueHeads || heads % keyValueHeads != 0) {
            throw new IllegalArgumentException(
                    "heads: expected a multiple of keyValueHeads " + keyValueHeads + ", found " + heads);
        }
    }

    /// A causal attention.
    public AttentionShape(int heads, int keyValueHeads, int headDim) {
        this(heads, keyValueHeads, headDim, true);
    }

    /// An attention of each row over its whole sequence, with as many key and value heads as query heads.
    public static AttentionShape joint(int heads, int headDim) {
        return new AttentionShape(heads, heads, headDim, false);
    }

    /// Keys before the one of row 0 that row 0 sees.
    int keysBefore(int sequenceLength) {
        return causal ? 0 : sequenceLength;
    }

    /// Query heads that share a key and value head.
    public int group() {
        return heads / keyValueHeads;
    }

    /// Columns of queries and of the output.
    public int queryColumns() {
        return heads * headDim;
    }

    /// Columns of keys and of values.
    public int keyValueColumns() {
        return keyValueHeads * headDim;
    }

    /// What scores are multiplied by: 1 / sqrt(headDim).
    public float scale() {
        return (float) (1 / Math.sqrt(headDim));
    }
}
