package io.vectune.runtime.weight;

import io.vectune.runtime.tensor.Matrix;

/// A frozen weight matrix W (outFeatures, inFeatures) of a linear layer y = x Wᵀ + b, in any storage format.
///
/// A weight is something that can decode a tile. The one blocked GEMM takes its panels from [#decode], for y = x Wᵀ and
/// for gradInput += gradOutput W alike; products with few tokens go through the format's own fused kernel, which reads
/// the stored bytes once. Weights are immutable and shared by all threads.
public interface Weight {
    /// Rows of W.
    int outFeatures();

    /// Columns of W.
    int inFeatures();

    /// Decodes the tile W[rowFrom, rowTo) x [columnFrom, columnTo) to f32:
    ///
    ///     tile[tileOffset + (row - rowFrom) * tileStride + (column - columnFrom)] = W[row, column]
    ///
    /// Exact: the same bits as the format's dequantization. Writes nothing else, allocates nothing.
    void decode(int rowFrom, int rowTo, int columnFrom, int columnTo, float[] tile, int tileOffset, int tileStride);

    /// Columns that are decoded together: tiles that begin and end at multiples of it take no block apart, which some
    /// formats do element by element. 1 where that does not matter.
    default int blockColumns() {
        return 1;
    }

    /// Brings the stored bytes of rows into a near cache, all lines at once, before they are decoded piece by piece.
    /// Changes nothing else; does nothing where that does not pay.
    default void readAhead(int rowFrom, int rowTo) {}

    /// The most tokens for which the fused product beats decoding once for all of them: docs/benchmarks/few-tokens.md.
    int fewTokens();

    /// Length of the prepared form of `tokens` rows of input for [#multiplyPrepared].
    int preparedLength(int tokens);

    /// Brings x into the form that the fused kernel reads (a plain copy, a permutation, group sums ...).
    ///
    /// @param x (tokens, inFeatures), tokens at most [#fewTokens]
    /// @param prepared at least [#preparedLength] long
    void prepare(Matrix x, float[] prepared);

    /// Number of independent units of work of the fused product: a unit is one or more output features.
    int units();

    /// The fused product for the units `[unitFrom, unitTo)`: overwrites their columns of y = x Wᵀ.
    ///
    /// @param prepared what [#prepare] wrote for `tokens` rows
    /// @param y (tokens, outFeatures)
    void multiplyPrepared(float[] prepared, int tokens, Matrix y, int unitFrom, int unitTo);

    /// Exact squared norms of rows and columns, computed once.
    WeightNorms norms();

    /// Bytes of storage, metadata included.
    long storageBytes();

    /// Bytes that the fused product keeps beside the stored ones, if it multiplies from a form of its own: 0 until the
    /// first product with few tokens, and for most formats always.
    default long fusedBytes() {
        return 0;
    }

    /// The format in a few words, for people: `bf16`, `hqq 4-bit, group 64, axis 1`.
    String description();
}
