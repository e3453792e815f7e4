package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.KernelTier;
import java.lang.foreign.MemorySegment;

/// The inner kernels of [NarrowProduct], in a scalar and a vector version that give the same bits: every output element
/// is one chain of fused multiply-adds.
///
/// They work on blocks in arrays. Columns are whole vectors and rows whole register tiles: callers round up, keep the
/// padding readable and writable, and ignore it.
interface NarrowKernels {
    /// Rows of a register tile of [#reduce].
    int REDUCE_ROWS = 12;

    /// Rows of a register tile of [#expand], and of ranks of [#outer].
    int ROWS = 4;

    /// Row lengths of the blocks of [#outer], of x and g and of h: constants, so that the compiler takes the checks of
    /// the indexes out of its loop.
    int OUTER_STRIDE = 528;

    int RANK_STRIDE = 64;

    /// What widths are rounded up to: one vector in [#reduce], two in [#expand] and [#outer].
    int lanes();

    /// Copies a block of a matrix: target[offset + row * targetStride + column] = source[row, column].
    ///
    /// @param from byte offset of the first element
    /// @param stride elements from one row of the source to the next
    void load(
            MemorySegment source,
            long from,
            long stride,
            int rows,
            int columns,
            float[] target,
            int offset,
            int targetStride);

    /// Writes a block: target[row, column] (+)= alpha * source[row * sourceStride + column].
    void store(
            float[] source,
            int sourceStride,
            float alpha,
            MemorySegment target,
            long to,
            long stride,
            int rows,
            int columns,
            boolean accumulate);

    /// For r in [0, REDUCE_ROWS) and j in [0, width), a multiple of [#lanes]:
    ///
    ///     c[r * width + j] += sum_k x[r * xStride + k] * panel[panelAt + k * width + j]
    void reduce(int depth, float[] x, int xStride, float[] panel, int panelAt, int width, float[] c);

    /// For r in [0, rows), a multiple of [#ROWS], and j in [0, columns), a multiple of two vectors:
    ///
    ///     y[r * yStride + j] += sum_k h[r * rank + k] * panel[panelAt + k * panelStride + j]
    void expand(
            int rows,
            int columns,
            int rank,
            float[] h,
            float[] panel,
            int panelAt,
            int panelStride,
            float[] y,
            int yStride);

    /// For k in [0, rank), a multiple of [#ROWS], and j in [0, columns), a multiple of two vectors:
    ///
    ///     g[k * OUTER_STRIDE + j] += sum_t h[hAt + t * RANK_STRIDE + k] * x[t * OUTER_STRIDE + j]
    void outer(int tokens, int columns, int rank, float[] h, int hAt, float[] x, float[] g);

    /// The kernels of the tier in use.
    static NarrowKernels active() {
        return KernelTier.active() == KernelTier.VECTOR ? new NarrowVector() : new NarrowScalar();
    }
}
