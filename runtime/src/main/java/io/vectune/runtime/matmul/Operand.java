package io.vectune.runtime.matmul;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// One side of a product: the numbers it multiplies, seen as `size` vectors of the length of the sums.
///
/// Reusable and mutable, so that a product allocates nothing; owned by a [Gemm].
final class Operand {
    private @Nullable Matrix matrix;
    private @Nullable Weight weight;
    private boolean depthIsRows;
    private int size;

    /// The rows of a matrix (size, depth), or the columns of a matrix (depth, size).
    Operand of(Matrix matrix, boolean depthIsRows) {
        this.matrix = matrix;
        this.weight = null;
        this.depthIsRows = depthIsRows;
        this.size = depthIsRows ? matrix.columns() : matrix.rows();
        return this;
    }

    /// The rows (output features) or the columns (input features) of a weight.
    Operand of(Weight weight, boolean depthIsRows) {
        this.matrix = null;
        this.weight = weight;
        this.depthIsRows = depthIsRows;
        this.size = depthIsRows ? weight.inFeatures() : weight.outFeatures();
        return this;
    }

    /// Lets go of the memory.
    void clear() {
        matrix = null;
        weight = null;
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

    /// Packs vectors as rows: target[offset + i * stride + k].
    void rowsTo(
            TileKernels kernels,
            int from,
            int count,
            int depthFrom,
            int depth,
            float[] target,
            int offset,
            int stride) {
        Matrix source = matrix();
        if (depthIsRows) {
            long at = source.rowOffset(depthFrom) + 4L * from;
            kernels.transpose(source.segment(), at, source.stride(), depth, count, target, offset, stride);
        } else {
            long at = source.rowOffset(from) + 4L * depthFrom;
            kernels.copy(source.segment(), at, source.stride(), count, depth, target, offset, stride);
        }
    }

    /// Packs vectors as columns: target[offset + k * stride + i].
    void columnsTo(
            TileKernels kernels,
            int from,
            int count,
            int depthFrom,
            int depth,
            float[] target,
            int offset,
            int stride) {
        Matrix source = matrix();
        if (depthIsRows) {
            long at = source.rowOffset(depthFrom) + 4L * from;
            kernels.copy(source.segment(), at, source.stride(), depth, count, target, offset, stride);
        } else {
            long at = source.rowOffset(from) + 4L * depthFrom;
            kernels.transpose(source.segment(), at, source.stride(), count, depth, target, offset, stride);
        }
    }

    /// Decodes the rows of a weight: target[(i - from) * stride + k].
    void decodeRows(int from, int to, int depthFrom, int depth, float[] target, int stride) {
        weight().decode(from, to, depthFrom, depthFrom + depth, target, 0, stride);
    }

    /// Decodes columns of a weight: target[k * stride + (i - from)].
    void decodeColumns(int from, int to, int depthFrom, int depth, float[] target, int stride) {
        weight().decode(depthFrom, depthFrom + depth, from, to, target, 0, stride);
    }

    private Matrix matrix() {
        if (matrix == null) {
            throw new IllegalStateException("the operand is not a matrix");
        }
        return matrix;
    }

    private Weight weight() {
        if (weight == null) {
            throw new IllegalStateException("the operand is not a weight");
        }
        return weight;
    }
}
