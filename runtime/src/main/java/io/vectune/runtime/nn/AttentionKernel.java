package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// One thread's part of [Attention].
interface AttentionKernel {
    /// Rows `[rowFrom, rowTo)` of out and logSumExp for the query heads of one key and value head. Row r of the
    /// sequence sees the keys `[0, min(keyCount, keysBefore + r + 1))`.
    ///
    /// @param queryRow row of q, out and logSumExp where the sequence starts
    /// @param keyRow row of k and v where the sequence starts
    /// @param keyCount keys of the sequence
    /// @param keysBefore keys before the one of row 0
    void forward(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            int queryRow,
            Matrix k,
            Matrix v,
            int keyRow,
            int keyCount,
            int keysBefore,
            Matrix out,
            @Nullable Matrix logSumExp,
            int keyValueHead,
            int rowFrom,
            int rowTo);

    /// One row of q over the first `count` keys: the heads `[headFrom, headTo)` of out, which share a key and value
    /// head.
    ///
    /// @param q (1, heads * headDim)
    void attend(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            Matrix k,
            Matrix v,
            int count,
            Matrix out,
            int headFrom,
            int headTo);

    /// Rows `[rowFrom, rowTo)` of products (tokens, heads): the inner product of a and b over each head.
    ///
    /// @param lanes scratch of at least 16 elements
    void rowProducts(AttentionShape shape, Matrix a, Matrix b, Matrix products, float[] lanes, int rowFrom, int rowTo);

    /// The part of the keys `[keyFrom, keyTo)` of one sequence and key and value head in backward: overwrites their
    /// gradK and gradV, and the columns of their query heads in the sequence's rows of gradQ that see any of the keys.
    ///
    /// @param along (tokens, heads), inner products of gradOut and out
    /// @param row row of all matrices but gradQ where the sequence starts
    /// @param gradQRow row of gradQ where the sequence starts
    void backward(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            Matrix k,
            Matrix v,
            Matrix logSumExp,
            Matrix along,
            Matrix gradOut,
            int row,
            int sequenceLength,
            int keyValueHead,
            int keyFrom,
            int keyTo,
            Matrix gradQ,
            int gradQRow,
            Matrix gradK,
            Matrix gradV);

    /// The kernel of the active tier.
    static AttentionKernel active() {
        return KernelTier.active() == KernelTier.SCALAR ? new AttentionScalar() : new AttentionVector();
    }
}
