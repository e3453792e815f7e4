package io.vectune.runtime.matmul;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// One side of a product: the numbers it multiplies, seen as `size` vectors of the length of the sums.
///
/// A matrix or a weight, copied or decoded into left rows, or by way of a small array that stays in the first-level
/// cache into right panels. Only whole rows are read from segments, by copies of the runtime: loops of vector loads
/// from segments were compiled into loads lane by lane in some runs.
///
/// Reusable and mutable, so that a product allocates nothing; owned by a [Gemm].
final class Operand {
    /// Floats that pass through the first-level cache at a time.
    static final int PASSING = 4608;

    /// Floats beside a passing row, so that rows of a power of two do not share the same few sets of the cache.
    static final int PASSING_PAD = 16;

    /// Rows of a weight or matrix that pass at a time on the way into panels.
    private static final int PASSING_ROWS = 16;

    /// The most columns that [#toPanels] brings into panels at a time.
    static final int MAX_COLUMNS = PASSING / PASSING_ROWS - PASSING_PAD;

    /// k that pass at a time on the way into transposed panels or rows.
    private static final int PASSING_DEPTH = 128;

    private static final int PASSING_DEPTH_ROWS = 32;

    private @Nullable MemorySegment segment;
    private long origin;
    private long stride;
    private @Nullable Weight weight;
    private @Nullable LowRankTerms terms;
    private boolean tokensSide;
    private boolean depthIsRows;
    private int size;

    /// The rows of a matrix (size, depth), or the columns of a matrix (depth, size).
    Operand of(Matrix matrix, boolean depthIsRows) {
        this.segment = matrix.segment();
        this.origin = matrix.offset();
        this.stride = matrix.stride();
        this.weight = null;
        this.terms = null;
        this.depthIsRows = depthIsRows;
        this.size = depthIsRows ? matrix.columns() : matrix.rows();
        return this;
    }

    /// The rows (output features) or the columns (input features) of a weight.
    Operand of(Weight weight, boolean depthIsRows) {
        this.segment = null;
        this.weight = weight;
        this.terms = null;
        this.depthIsRows = depthIsRows;
        this.size = depthIsRows ? weight.inFeatures() : weight.outFeatures();
        return this;
    }

    /// What low-rank terms add to the sums of `side`, which is one side of the large product.
    ///
    /// @param tokensSide whether `side` holds the tokens; the other one holds the weight
    Operand of(LowRankTerms terms, boolean tokensSide, Operand side) {
        this.segment = null;
        this.weight = null;
        this.terms = terms;
        this.tokensSide = tokensSide;
        this.depthIsRows = side.depthIsRows;
        this.size = side.size;
        return this;
    }

    /// Lets go of the memory.
    void clear() {
        segment = null;
        weight = null;
        terms = null;
    }

    int size() {
        return size;
    }

    /// Whether the sums run along the rows of the stored matrix.
    boolean depthIsRows() {
        return depthIsRows;
    }

    /// Whether this is a weight, decoded where it is used, not packed.
    boolean isDecoded() {
        return weight != null;
    }

    /// What k and columns of a weight should be cut at multiples of: see [Weight#blockColumns].
    int blockColumns() {
        return weight == null ? 1 : weight.blockColumns();
    }

    /// The first column of the matrix that a view of some of its columns shows.
    int columnOf(Matrix view) {
        return Math.toIntExact((view.offset() - origin) / Float.BYTES);
    }

    /// Loads rows of a matrix that are going to be copied in short pieces: vectors [from, +count), k in [depthFrom,
    /// +depth), if the sums run along them.
    void load(int from, int count, int depthFrom, int depth) {
        MemorySegment source = segment;
        if (source != null && !depthIsRows) {
            CacheFill.load(source, origin + 4 * (from * stride + depthFrom), 4 * stride, count, 4L * depth);
        }
    }

    /// Vectors as left rows: target[offset + i * targetStride + k].
    ///
    /// @param passing scratch of [#PASSING]
    void toRows(
            TileKernels kernels,
            int from,
            int count,
            int depthFrom,
            int depth,
            float[] target,
            int offset,
            int targetStride,
            float[] passing) {
        if (!depthIsRows) {
            read(from, count, depthFrom, depth, target, offset, targetStride);
            return;
        }
        int step = PASSING / PASSING_DEPTH_ROWS - PASSING_PAD;
        for (int first = 0; first < count; first += step) {
            int columns = Math.min(step, count - first);
            for (int k = 0; k < depth; k += PASSING_DEPTH_ROWS) {
                int rows = Math.min(PASSING_DEPTH_ROWS, depth - k);
                int stride = columns + PASSING_PAD;
                read(depthFrom + k, rows, from + first, columns, passing, 0, stride);
                int to = offset + first * targetStride + k;
                kernels.transpose(passing, 0, stride, rows, columns, target, to, targetStride);
            }
        }
    }

    /// Vectors as the columns of right panels, from row `panelRow` of the panels on: panel p at offset + p *
    /// panelStride, as wide as [TileKernels#width] says.
    ///
    /// @param count at most [#MAX_COLUMNS]
    /// @param passing scratch of [#PASSING]
    void toPanels(
            TileKernels kernels,
            int from,
            int count,
            int depthFrom,
            int depth,
            float[] target,
            int offset,
            int panelStride,
            int panelRow,
            float[] passing) {
        if (depthIsRows) {
            for (int k = 0; k < depth; k += PASSING_ROWS) {
                int rows = Math.min(PASSING_ROWS, depth - k);
                read(depthFrom + k, rows, from, count, passing, 0, count + PASSING_PAD);
                split(kernels, passing, rows, count, target, offset, panelStride, panelRow + k);
            }
            return;
        }
        int panelWidth = kernels.panelWidth();
        for (int column = 0, panel = offset; column < count; column += panelWidth, panel += panelStride) {
            int columns = Math.min(panelWidth, count - column);
            int width = kernels.width(columns);
            for (int k = 0; k < depth; k += PASSING_DEPTH) {
                int deep = Math.min(PASSING_DEPTH, depth - k);
                int stride = deep + PASSING_PAD;
                read(from + column, columns, depthFrom + k, deep, passing, 0, stride);
                int to = panel + (panelRow + k) * width;
                kernels.transpose(passing, 0, stride, columns, deep, target, to, width);
            }
        }
    }

    private static void split(
            TileKernels kernels,
            float[] passing,
            int rows,
            int count,
            float[] target,
            int offset,
            int panelStride,
            int panelRow) {
        int panelWidth = kernels.panelWidth();
        for (int column = 0, panel = offset; column < count; column += panelWidth, panel += panelStride) {
            int columns = Math.min(panelWidth, count - column);
            int width = kernels.width(columns);
            int to = panel + panelRow * width;
            kernels.copy(passing, column, count + PASSING_PAD, rows, columns, target, to, width);
        }
    }

    /// A block as it is stored: target[offset + i * targetStride + j] = stored[row + i, column + j].
    private void read(int row, int rows, int column, int columns, float[] target, int offset, int targetStride) {
        Weight format = weight;
        MemorySegment source = segment;
        LowRankTerms added = terms;
        if (added != null && tokensSide) {
            added.readTokens(row, rows, column, columns, target, offset, targetStride);
        } else if (added != null) {
            added.readColumns(row, rows, column, columns, target, offset, targetStride);
        } else if (format != null) {
            format.decode(row, row + rows, column, column + columns, target, offset, targetStride);
        } else if (source != null) {
            for (int i = 0; i < rows; i++) {
                long at = origin + 4 * ((row + i) * stride + column);
                MemorySegment.copy(source, Tensor.FLOAT, at, target, offset + i * targetStride, columns);
            }
        } else {
            throw new IllegalStateException("the operand is not set");
        }
    }
}
