package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.KernelTier;
import java.lang.foreign.MemorySegment;

/// The inner kernels of the blocked product, in a scalar and a vector version that give the same bits.
///
/// A product has a left side, whose elements are broadcast, and a right side, whose elements lie along the lanes. The
/// left side is kept row by row with the fixed row stride [#LEFT_STRIDE], so that the addresses of a register tile
/// differ by constants and a decoded weight needs no repacking. The right side is a panel of [#panelWidth] columns, one
/// row per k.
///
/// Every output element is one chain of fused multiply-adds in the order of k, starting from what the tile holds, so
/// neither the tile's shape nor the cut into blocks of k changes a bit.
interface TileKernels {
    /// The largest number of k in a block. A panel then passes through the second-level cache, which costs nothing (a
    /// tile of 12 x 2 vectors reads 11 bytes a cycle), and fewer blocks mean fewer loads and stores of the running
    /// sums.
    int MAX_DEPTH = 576;

    /// Floats from one left row to the next: the depth and one cache line, since rows a power of two apart would share
    /// the same few sets of the cache.
    int LEFT_STRIDE = MAX_DEPTH + 16;

    /// Columns of a right panel that is decoded from a weight, and its row stride (an odd number of cache lines).
    int RIGHT_COLUMNS = 128;

    int RIGHT_STRIDE = RIGHT_COLUMNS + 16;

    /// Left rows of the largest register tile.
    int tileRows();

    /// Columns of a full panel: two vectors.
    int panelWidth();

    /// Columns of the narrow last panel: one vector.
    int narrowWidth();

    /// Adds the product of a block of left rows and one panel to the tile buffer:
    ///
    ///     c[cOffset + r * width + j] += sum_k left[leftOffset + r * LEFT_STRIDE + k] * right[rightOffset + k * rightStride + j]
    ///
    /// for r in [0, rows). Rows up to [#tileRows] may be computed as well: the caller keeps them readable and writable
    /// and ignores them.
    ///
    /// @param rows 1 to [#tileRows]
    /// @param width [#panelWidth] or [#narrowWidth]
    void multiply(
            int rows,
            int depth,
            float[] left,
            int leftOffset,
            float[] right,
            int rightOffset,
            int rightStride,
            int width,
            float[] c,
            int cOffset);

    /// Transposes a block of a matrix into an array:
    ///
    ///     target[offset + column * targetStride + row] = source[row, column]
    ///
    /// @param from byte offset of the block's first element
    /// @param stride elements from one row of the source to the next
    void transpose(
            MemorySegment source,
            long from,
            long stride,
            int rows,
            int columns,
            float[] target,
            int offset,
            int targetStride);

    /// Copies a block of a matrix into an array:
    ///
    ///     target[offset + row * targetStride + column] = source[row, column]
    void copy(
            MemorySegment source,
            long from,
            long stride,
            int rows,
            int columns,
            float[] target,
            int offset,
            int targetStride);

    /// Writes a tile buffer to the result: target[row, column] (+)= alpha * tile[offset + row * width + column].
    ///
    /// @param to byte offset of the block's first element in the target
    /// @param stride elements from one row of the target to the next
    void store(
            float[] tile,
            int offset,
            int width,
            float alpha,
            MemorySegment target,
            long to,
            long stride,
            int rows,
            int columns,
            boolean accumulate);

    /// Writes a tile buffer transposed: target[row, column] (+)= alpha * tile[offset + column * width + row].
    void storeTransposed(
            float[] tile,
            int offset,
            int width,
            float alpha,
            MemorySegment target,
            long to,
            long stride,
            int rows,
            int columns,
            boolean accumulate);

    /// The kernels of the tier in use.
    static TileKernels active() {
        return KernelTier.active() == KernelTier.VECTOR ? new VectorTiles() : new ScalarTiles();
    }
}
