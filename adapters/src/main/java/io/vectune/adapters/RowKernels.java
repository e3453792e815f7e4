package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// Elementwise kernels over the rows of activations. Sums over tokens run in token order for each feature, so that the
/// result does not depend on threads or vector width.
final class RowKernels {
    private RowKernels() {}

    /// y += row, for each row of y; nothing for null.
    static void addRow(Matrix y, @Nullable Matrix row) {
        if (row == null) {
            return;
        }
        MemorySegment source = row.segment();
        MemorySegment target = y.segment();
        int columns = y.columns();
        for (int t = 0; t < y.rows(); t++) {
            long at = y.rowOffset(t);
            for (int o = 0; o < columns; o++) {
                long offset = at + 4L * o;
                target.set(
                        Tensor.FLOAT,
                        offset,
                        target.get(Tensor.FLOAT, offset) + source.get(Tensor.FLOAT, row.offset() + 4L * o));
            }
        }
    }
}
