package io.vectune.adapters.kind;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.MemorySegment;

/// Decodes a whole weight, a few rows at a time, for merging and for initialization.
public final class DenseCopy {
    private static final int TILE_ROWS = 16;

    private DenseCopy() {}

    /// Overwrites `dense` (outFeatures, inFeatures) with the weight's exact values.
    public static void of(Weight weight, Matrix dense) {
        int columns = weight.inFeatures();
        if (dense.rows() != weight.outFeatures() || dense.columns() != columns) {
            throw new IllegalArgumentException(
                    "merged: expected a matrix ("
                            + weight.outFeatures()
                            + ", "
                            + columns
                            + "), found ("
                            + dense.rows()
                            + ", "
                            + dense.columns()
                            + ")");
        }
        float[] tile = new float[Math.multiplyExact(TILE_ROWS, columns)];
        for (int from = 0; from < weight.outFeatures(); from += TILE_ROWS) {
            int to = Math.min(weight.outFeatures(), from + TILE_ROWS);
            weight.decode(from, to, 0, columns, tile, 0, columns);
            for (int row = from; row < to; row++) {
                MemorySegment.copy(
                        tile, (row - from) * columns, dense.segment(), Tensor.FLOAT, dense.rowOffset(row), columns);
            }
        }
    }
}
