package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;

/// Checks at the public boundary, and how small a piece of work may be.
final class Shapes {
    /// Elements below which handing work to another thread costs more than the work.
    private static final int MIN_ELEMENTS = 1 << 14;

    private Shapes() {}

    /// @throws IllegalArgumentException unless `matrix` is (rows, columns)
    static void require(String name, Matrix matrix, int rows, int columns) {
        if (matrix.rows() != rows || matrix.columns() != columns) {
            throw new IllegalArgumentException(
                    name
                            + ": expected a matrix ("
                            + rows
                            + ", "
                            + columns
                            + "), found ("
                            + matrix.rows()
                            + ", "
                            + matrix.columns()
                            + ")");
        }
    }

    /// @throws IllegalArgumentException unless `other` has the shape of `matrix`
    static void requireSame(String name, Matrix other, Matrix matrix) {
        require(name, other, matrix.rows(), matrix.columns());
    }

    /// Fewest rows of `columns` elements that are worth a thread.
    static int minRows(int columns) {
        return Math.max(1, MIN_ELEMENTS / Math.max(1, columns));
    }
}
