package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.KernelTier;

/// The inner kernels of [FewTokenProduct], in a scalar and a vector version that give the same bits for the same number
/// of lanes.
///
/// Both sides lie row by row, k along the lanes of a vector: a decoded weight needs no transposition. A sum over k is a
/// vector of `lanes` chains of fused multiply-adds, of which lane l takes k = l, l + lanes, ... in this order, and at
/// the end a tree over neighbors: lanes 0 and 1, 2 and 3, ..., then those sums likewise, down to one. Neither the cut
/// into strips of k, nor the shape of a tile, nor its place changes a bit.
interface DotKernels {
    /// Weight rows of a tile.
    int ROWS = 4;

    /// The most k of one call: 8 rows of weights and 8 tokens take 24 KB each of the first-level cache.
    int MAX_DEPTH = 768;

    /// Floats from one row of weights or tokens to the next: the depth and one cache line, since rows a power of two
    /// apart would share the same few sets of the cache. Constant, so that the compiler takes the checks of the indexes
    /// out of the loop.
    int STRIDE = MAX_DEPTH + 16;

    /// Lanes of a vector: what the depth of a call is a multiple of.
    int lanes();

    /// The most tokens of a tile.
    int maxTokens();

    /// Sums of a tile, as vectors before [#fold]: [#ROWS] for each of [#maxTokens] tokens.
    default int slots() {
        return ROWS * maxTokens();
    }

    /// Products of 4 rows with some tokens, lane by lane. Slot `token * ROWS + row` of the tile:
    ///
    ///     sums[at + slot * lanes + l] += sum_k weights[weightsAt + row * STRIDE + k] * x[xAt + token * STRIDE + k]
    ///
    /// over the k of lane l.
    ///
    /// @param tokens 2 to [#maxTokens]; the slots of further tokens stay as they are
    /// @param depth a multiple of [#lanes]
    void multiply(int tokens, int depth, float[] weights, int weightsAt, float[] x, int xAt, float[] sums, int at);

    /// The sums over the lanes of `vectors` vectors, in place: sums[i] = the lanes of vector i.
    ///
    /// @param vectors a multiple of [#slots]
    void fold(float[] sums, int vectors);

    /// The kernels of the tier in use.
    static DotKernels active() {
        return KernelTier.active() == KernelTier.VECTOR ? new DotVector() : new DotScalar(16, 4);
    }
}
