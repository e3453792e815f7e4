package io.vectune.runtime.weight;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// A whole weight decoded to f32: for files, merging and quantizing again, never to multiply by.
public final class DecodedWeight {
    private static final int ROWS_AT_ONCE = 16;

    private DecodedWeight() {}

    /// The dequantized weight as an F32 tensor (outFeatures, inFeatures).
    public static Tensor of(Compute compute, Weight weight, Arena arena) {
        int columns = weight.inFeatures();
        Tensor tensor = Tensor.allocate(arena, DType.F32, weight.outFeatures(), columns);
        compute.team()
                .run(
                        weight.outFeatures(),
                        ROWS_AT_ONCE,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            for (int index = from; index < to; index++) {
                                weight.decode(index, index + 1, 0, columns, row, 0, columns);
                                MemorySegment.copy(
                                        row, 0, tensor.segment(), Tensor.FLOAT, 4L * index * columns, columns);
                            }
                        });
        return tensor;
    }
}
