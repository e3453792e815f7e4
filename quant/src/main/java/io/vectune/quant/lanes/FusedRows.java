package io.vectune.quant.lanes;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;

/// The product of few tokens with a weight from its codes, two rows at a time. What it keeps beside the stored bytes is
/// made from them when a row is first multiplied, by the threads that multiply.
public interface FusedRows {
    /// Tokens up to which this beats decoding panels for the blocked product.
    int fewTokens();

    /// Floats of one prepared token.
    int preparedLength();

    /// Brings a row of x, f32 from byte `offset`, into the form that [#multiply] reads.
    ///
    /// In plain numbers: a product calls it once, so that it stays in code of the first compiler for the first hundreds
    /// of products, where each vector is an object.
    void prepare(MemorySegment x, long offset, float[] prepared, int at);

    /// Pairs of rows: the units of [#multiply].
    int pairs();

    /// Multiplies the pairs `[from, to)` with `tokens` rows of x.
    ///
    /// @param prepared what [#prepare] wrote for each token, one behind the other
    /// @param y (tokens, outFeatures)
    void multiply(float[] prepared, int tokens, Matrix y, int from, int to);

    /// Bytes of what is kept here, beside those of the weight it is made from: 0 before the first product.
    long bytes();
}
