package io.vectune.adapters.kernel;

import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Inverted dropout whose mask is a function of a seed and the element's place: nothing is stored, and a recomputed
/// forward or the backward sees the same mask whatever the threads.
///
///     y[t, i] = keep(seed, t, i) ? x[t, i] / (1 - p) : 0        P(keep) = 1 - p, to 2^-32
public final class DropoutMask {
    private DropoutMask() {}

    /// Overwrites y with the masked x; y may be x.
    ///
    /// @param stream tells the layers of a model apart
    public static void apply(Compute compute, Matrix x, double probability, long seed, long stream, Matrix y) {
        int columns = x.columns();
        long threshold = (long) (probability * 0x1p32);
        float scale = (float) (1 / (1 - probability));
        long key = SplitMix.mix(seed ^ SplitMix.mix(stream));
        compute.team()
                .run(
                        x.rows(),
                        4,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            for (int t = from; t < to; t++) {
                                MemorySegment.copy(x.segment(), Tensor.FLOAT, x.rowOffset(t), row, 0, columns);
                                maskRow(row, columns, key, t, threshold, scale);
                                MemorySegment.copy(row, 0, y.segment(), Tensor.FLOAT, y.rowOffset(t), columns);
                            }
                        });
    }

    // One 64-bit draw serves two neighbors: its low word the even column, its high word the odd one.
    private static void maskRow(float[] row, int columns, long key, int t, long threshold, float scale) {
        long base = key + SplitMix.GOLDEN * (((long) t << 32) + 1);
        for (int i = 0; i < columns; i += 2) {
            long bits = SplitMix.mix(base + SplitMix.GOLDEN * (i >>> 1));
            row[i] = (bits & 0xFFFFFFFFL) >= threshold ? row[i] * scale : 0f;
            if (i + 1 < columns) {
                row[i + 1] = bits >>> 32 >= threshold ? row[i + 1] * scale : 0f;
            }
        }
    }
}
