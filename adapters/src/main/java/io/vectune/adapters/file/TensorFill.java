package io.vectune.adapters.file;

import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;

/// Copies parameters from and to the tensors of a file.
final class TensorFill {
    private TensorFill() {}

    /// Overwrites the parameter with a tensor of any float type.
    ///
    /// @param where the file, for messages
    /// @param module the layer, for messages
    /// @throws FileFormatException for another shape or type; the message names layer, tensor and both shapes
    static void read(Tensor tensor, AdapterParameter parameter, Stored stored, String where, String module) {
        if (!Arrays.equals(tensor.shape(), stored.shape())) {
            throw new FileFormatException(
                    where
                            + ": "
                            + stored.key()
                            + " of "
                            + module
                            + ": expected the shape "
                            + Arrays.toString(stored.shape())
                            + " for this model, found "
                            + tensor
                            + "; the adapter was made for another base or configuration");
        }
        if (!tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    where + ": " + stored.key() + " of " + module + ": expected a float type, found " + tensor.dtype());
        }
        Matrix values = parameter.values();
        int rows = values.rows();
        int columns = values.columns();
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                long index = stored.transposed() ? (long) column * rows + row : (long) row * columns + column;
                values.set(row, column, tensor.getFloat(index));
            }
        }
    }

    /// The parameter as a new F32 tensor in the file's form.
    static Tensor write(AdapterParameter parameter, Stored stored, Arena arena) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, stored.shape());
        Matrix values = parameter.values();
        int rows = values.rows();
        int columns = values.columns();
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                long index = stored.transposed() ? (long) column * rows + row : (long) row * columns + column;
                tensor.setFloat(index, values.get(row, column));
            }
        }
        return tensor;
    }
}
