package io.vectune.models.checkpoint;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// A whole weight as f32: for files only, never to multiply by.
final class DenseForm {
    private static final int TILE_ROWS = 64;

    private DenseForm() {}

    /// The dequantized weight (outFeatures, inFeatures).
    static Matrix of(Weight weight, Arena arena) {
        int rows = weight.outFeatures();
        int columns = weight.inFeatures();
        Matrix dense = Matrix.allocate(arena, rows, columns);
        float[] tile = new float[TILE_ROWS * columns];
        for (int from = 0; from < rows; from += TILE_ROWS) {
            int to = Math.min(rows, from + TILE_ROWS);
            weight.decode(from, to, 0, columns, tile, 0, columns);
            MemorySegment.copy(tile, 0, dense.segment(), Tensor.FLOAT, dense.rowOffset(from), (to - from) * columns);
        }
        return dense;
    }
}
