package io.vectune.runtime.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/// A row-major f32 matrix over a memory segment: what kernels read and write.
///
///     element (row, column) lies at byte offset() + 4 * (row * stride() + column)
///
/// A view: rows of a larger buffer, or a block of columns of it, cost one small object and no copy. Activations are
/// matrices of shape (tokens, features).
///
/// @param segment native memory
/// @param offset byte offset of element (0, 0)
/// @param rows number of rows
/// @param columns number of columns
/// @param stride elements from one row to the next, at least `columns`
public record Matrix(MemorySegment segment, long offset, int rows, int columns, long stride) {
    public Matrix {
        if (rows < 0 || columns < 0 || stride < columns) {
            throw new IllegalArgumentException(
                    "matrix (" + rows + ", " + columns + "): the stride " + stride + " must be at least the columns");
        }
        if (rows > 0) {
            Objects.checkFromIndexSize(offset, 4L * ((rows - 1L) * stride + columns), segment.byteSize());
        }
    }

    /// A view of existing memory.
    public static Matrix of(MemorySegment segment, long offset, int rows, int columns, long stride) {
        return new Matrix(segment, offset, rows, columns, stride);
    }

    /// A zeroed matrix in `arena`, aligned to a cache line, without gaps between the rows.
    public static Matrix allocate(Arena arena, int rows, int columns) {
        long bytes = 4L * rows * columns;
        return new Matrix(arena.allocate(Math.max(bytes, 4), Tensor.ALIGNMENT_BYTES), 0, rows, columns, columns);
    }

    /// A matrix in `arena` with these values in row-major order.
    public static Matrix copyOf(Arena arena, int rows, int columns, float... values) {
        Objects.checkFromIndexSize(0, values.length, rows * columns);
        Matrix matrix = allocate(arena, rows, columns);
        MemorySegment.copy(values, 0, matrix.segment, Tensor.FLOAT, 0, rows * columns);
        return matrix;
    }

    /// Byte offset of the first element of a row.
    public long rowOffset(int row) {
        return offset + 4 * (row * stride);
    }

    /// Rows `[from, to)`, no copy.
    public Matrix rows(int from, int to) {
        Objects.checkFromToIndex(from, to, rows);
        return new Matrix(segment, rowOffset(from), to - from, columns, stride);
    }

    /// Columns `[from, to)`, no copy.
    public Matrix columns(int from, int to) {
        Objects.checkFromToIndex(from, to, columns);
        return new Matrix(segment, offset + 4L * from, rows, to - from, stride);
    }

    /// Whether the rows follow each other without gaps.
    public boolean isContiguous() {
        return stride == columns || rows <= 1;
    }

    /// One element; not for hot loops.
    public float get(int row, int column) {
        return segment.get(Tensor.FLOAT, rowOffset(row) + 4L * Objects.checkIndex(column, columns));
    }

    /// Sets one element; not for hot loops.
    public void set(int row, int column, float value) {
        segment.set(Tensor.FLOAT, rowOffset(row) + 4L * Objects.checkIndex(column, columns), value);
    }

    /// Sets all elements.
    public void fill(float value) {
        for (int row = 0; row < rows; row++) {
            long at = rowOffset(row);
            if (value == 0f && Float.floatToRawIntBits(value) == 0) {
                segment.asSlice(at, 4L * columns).fill((byte) 0);
            } else {
                for (int column = 0; column < columns; column++) {
                    segment.set(Tensor.FLOAT, at + 4L * column, value);
                }
            }
        }
    }

    /// Copies all elements of `source`, which has the same shape.
    public void copyFrom(Matrix source) {
        if (source.rows != rows || source.columns != columns) {
            throw new IllegalArgumentException(
                    "expected a matrix ("
                            + rows
                            + ", "
                            + columns
                            + "), found ("
                            + source.rows
                            + ", "
                            + source.columns
                            + ")");
        }
        for (int row = 0; row < rows; row++) {
            MemorySegment.copy(source.segment, source.rowOffset(row), segment, rowOffset(row), 4L * columns);
        }
    }

    /// All elements in row-major order, as a new array.
    public float[] toArray() {
        float[] values = new float[Math.multiplyExact(rows, columns)];
        for (int row = 0; row < rows; row++) {
            MemorySegment.copy(segment, Tensor.FLOAT, rowOffset(row), values, row * columns, columns);
        }
        return values;
    }
}
