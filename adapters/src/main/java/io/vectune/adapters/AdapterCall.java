package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// One use of an adapted linear layer; the same object goes to forward and backward.
///
/// @param compute the session
/// @param weight the frozen weight (outFeatures, inFeatures)
/// @param bias (1, outFeatures), or null
/// @param x the layer's input (tokens, inFeatures), unchanged between forward and backward
/// @param saved at least [Adapter#savedFloats] floats as one row, filled by forward and read by backward; null where no
///   backward follows: in inference, or in training where forward is computed again before its backward
/// @param options what belongs to the call and not to the adapter
public record AdapterCall(
        Compute compute, Weight weight, @Nullable Matrix bias, Matrix x, @Nullable Matrix saved, CallOptions options) {

    /// Part of the saved floats as a matrix, or temporary memory where nothing is saved.
    ///
    /// @param from floats before it
    public Matrix savedOrTemporary(long from, int rows, int columns) {
        return saved == null ? compute.workspace().matrix(rows, columns) : saved(from, rows, columns);
    }

    /// Part of the saved floats as a matrix.
    ///
    /// @throws IllegalStateException in a call that saves nothing
    public Matrix saved(long from, int rows, int columns) {
        Matrix area = saved;
        if (area == null) {
            throw new IllegalStateException("backward needs the floats that forward saved; this call saved none");
        }
        return Matrix.of(area.segment(), area.offset() + 4 * from, rows, columns, columns);
    }

    /// The same call with another input and its own part of the saved floats.
    AdapterCall with(Matrix input, long savedFrom, long savedFloats) {
        Matrix part = saved == null ? null : saved(savedFrom, 1, Math.toIntExact(savedFloats));
        return new AdapterCall(compute, weight, bias, input, part, options);
    }

    /// The call of the rows `[from, to)` alone.
    AdapterCall rows(int from, int to, long savedFrom, long savedFloats) {
        Matrix part = saved == null ? null : saved(savedFrom, 1, Math.toIntExact(savedFloats));
        return new AdapterCall(compute, weight, bias, x.rows(from, to), part, options.rows(from, to));
    }
}
