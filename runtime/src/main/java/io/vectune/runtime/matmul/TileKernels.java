package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.KernelTier;

/// The inner kernels of the blocked product, in a scalar and a vector version that give the same bits.
///
/// A product has a left side, whose elements are broadcast, and a right side, whose elements lie along the lanes. The
/// left side is kept row by row with the fixed row stride [#LEFT_STRIDE], so that the addresses of a register tile
/// differ by constants and a decoded weight needs no repacking. The right side lies in panels of [#panelWidth] columns,
/// one row per k, without gaps: a panel is one stream of cache lines.
///
/// Every output element is one chain of fused multiply-adds in the order of k, starting from what the tile holds, so
/// neither the tile's shape nor the cut into blocks of k changes a bit.
interface TileKernels {
    /// The largest number of k in a block. Fewer calls of the register tiles, fewer loads and stores of the running
    /// sums and longer runs of a weight outweigh that a panel of that depth does not stay in the first-level cache.
    int MAX_DEPTH = 576;

    /// Floats from one left row to the next: the depth and one cache line, since rows a power of two apart would share
    /// the same few sets of the cache.
    int LEFT_STRIDE = MAX_DEPTH + 16;

    /// Floats read ahead for each k: constant, so that the compiler takes the checks of the index out of the loop. The
    /// tiles of a full unit of left rows read more than one panel ahead.
    int AHEAD_STEP = 2;

    /// Left rows of the largest register tile.
    int tileRows();

    /// Columns of a full panel: two vectors.
    int panelWidth();

    /// Columns of the narrow last panel: one vector.
    int narrowWidth();

    /// The width of a panel of so many columns.
    default int width(int columns) {
        return columns <= narrowWidth() ? narrowWidth() : panelWidth();
    }

    /// Adds the product of a block of left rows and one panel to the tile buffer:
    ///
    ///     c[cOffset + r * width + j] += sum_k left[leftOffset + r * LEFT_STRIDE + k] * right[rightOffset + k * width + j]
    ///
    /// for r in [0, rows). Rows up to [#tileRows] may be computed as well: the caller keeps them readable and writable
    /// and ignores them.
    ///
    /// On the way it loads, and forgets, what one of the next calls needs: `right[aheadAt + AHEAD_STEP * k]` for k in [0,
    /// depth). Panels and rows come from the last-level cache; a load that nothing waits for hides that way, one that
    /// the products wait for does not.
    ///
    /// @param rows 1 to [#tileRows]
    /// @param width [#panelWidth] or [#narrowWidth]
    /// @param aheadAt `right` may be read up to `aheadAt + AHEAD_STEP * (depth - 1)`; kernels of small tiles do without
    void multiply(
            int rows,
            int depth,
            float[] left,
            int leftOffset,
            float[] right,
            int rightOffset,
            int width,
            float[] c,
            int cOffset,
            int aheadAt);

    /// Copies a block:
    ///
    ///     target[offset + row * targetStride + column] = source[from + row * stride + column]
    void copy(
            float[] source, int from, int stride, int rows, int columns, float[] target, int offset, int targetStride);

    /// Transposes a block:
    ///
    ///     target[offset + column * targetStride + row] = source[from + row * stride + column]
    void transpose(
            float[] source, int from, int stride, int rows, int columns, float[] target, int offset, int targetStride);

    /// Scales a row: target[from + i] *= factor for i in [0, count).
    void scale(float factor, float[] target, int from, int count);

    /// Adds a row: target[from + i] += source[i] for i in [0, count).
    void add(float[] source, float[] target, int from, int count);

    /// The kernels of the tier in use.
    static TileKernels active() {
        return KernelTier.active() == KernelTier.VECTOR ? new VectorTiles() : new ScalarTiles();
    }
}
