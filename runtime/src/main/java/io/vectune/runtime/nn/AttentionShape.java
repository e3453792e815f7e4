package io.vectune.runtime.nn;

/// Heads of a grouped-query attention: query head h reads key and value head h / (heads / keyValueHeads).
///
/// @param heads query heads
/// @param keyValueHeads key and value heads, a divisor of `heads`
/// @param headDim features of one head
public record AttentionShape(int heads, int keyValueHeads, int headDim) {
    public AttentionShape {
        if (headDim < 1) {
            throw new IllegalArgumentException("headDim: expected at least 1, found " + headDim);
        }
        if (keyValueHeads < 1 || heads < keyValueHeads || heads % keyValueHeads != 0) {
            throw new IllegalArgumentException(
                    "heads: expected a multiple of keyValueHeads " + keyValueHeads + ", found " + heads);
        }
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
