package io.vectune.models.checkpoint;

import io.vectune.adapters.Adapter;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;

/// A weight with an adapter folded in, in f32.
final class MergedWeight {
    private MergedWeight() {}

    /// Folds an adapter in.
    ///
    /// @return (outFeatures, inFeatures)
    /// @throws VectuneException if the result has values that are not finite; the message names the layer
    static Tensor of(Compute compute, String layer, Adapter adapter, Weight weight, Arena arena) {
        Tensor merged = Tensor.allocate(arena, DType.F32, weight.outFeatures(), weight.inFeatures());
        adapter.merge(compute, weight, merged.asMatrix());
        requireFinite(layer, merged.asMatrix());
        return merged;
    }

    private static void requireFinite(String layer, Matrix merged) {
        for (int row = 0; row < merged.rows(); row++) {
            for (int column = 0; column < merged.columns(); column++) {
                float value = merged.get(row, column);
                if (!Float.isFinite(value)) {
                    throw new VectuneException(
                            layer
                                    + ".weight: expected finite values after merging, found "
                                    + value
                                    + " at ["
                                    + row
                                    + ", "
                                    + column
                                    + "]; the adapter is broken");
                }
            }
        }
    }
}
