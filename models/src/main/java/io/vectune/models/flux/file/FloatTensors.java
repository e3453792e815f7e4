package io.vectune.models.flux.file;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;

/// Float tensors of a file as f32 matrices: copies, checked for shape and for values that are not finite.
///
/// @param arena owns the copies
record FloatTensors(TensorSource source, Arena arena) {
    /// A tensor of so many axes.
    ///
    /// @throws FileFormatException if it has others, or no float type
    Tensor withAxes(String name, int axes) {
        Tensor tensor = source.tensor(name);
        if (tensor.axes() != axes) {
            throw new FileFormatException(
                    source.origin()
                            + ": "
                            + name
                            + ": expected "
                            + axes
                            + (axes == 1 ? " axis" : " axes")
                            + ", found "
                            + tensor);
        }
        return floats(name);
    }

    /// A tensor of any shape.
    ///
    /// @throws FileFormatException if it has no float type
    Tensor floats(String name) {
        Tensor tensor = source.tensor(name);
        if (!tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    source.origin() + ": " + name + ": expected F32, F16 or BF16, found " + tensor.dtype());
        }
        return tensor;
    }

    /// @throws FileFormatException if a tensor has another shape, or no float type
    void requireShape(String name, long... expected) {
        if (!Arrays.equals(floats(name).shape(), expected)) {
            throw wrongShape(name, "", Arrays.stream(expected).boxed().toArray());
        }
    }

    /// The exception for a tensor of another shape.
    ///
    /// @param hint what else to say, or empty
    /// @param expected sizes, or words for those that may be any
    FileFormatException wrongShape(String name, String hint, Object... expected) {
        return new FileFormatException(
                source.origin()
                        + ": "
                        + name
                        + ": expected the shape "
                        + Arrays.toString(expected)
                        + ", found "
                        + Arrays.toString(source.tensor(name).shape())
                        + hint);
    }

    /// The exception for a value that is not finite.
    FileFormatException notFinite(String name, float value) {
        return new FileFormatException(
                source.origin()
                        + ": "
                        + name
                        + ": expected finite values, found "
                        + value
                        + "; the file is damaged, make or fetch it again");
    }

    /// Rows of a tensor whose last axis is the columns.
    ///
    /// @param index which matrix of `rows` rows, 0 for the first one
    /// @throws FileFormatException if a value is not finite
    Matrix matrix(String name, long index, long rows) {
        Tensor tensor = floats(name);
        int columns = Math.toIntExact(tensor.size(tensor.axes() - 1));
        Matrix matrix = Matrix.allocate(arena, Math.toIntExact(rows), columns);
        long from = index * rows * columns;
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < columns; column++) {
                float value = tensor.getFloat(from + (long) row * columns + column);
                if (!Float.isFinite(value)) {
                    throw notFinite(name, value);
                }
                matrix.set(row, column, value);
            }
        }
        return matrix;
    }
}
