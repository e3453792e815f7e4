package io.vectune.runtime.matmul;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Brings memory into the caches by one load a cache line, in long runs.
///
/// The processor reads ahead along a run of addresses; the first lines of each run wait for memory. Runs of 0.5 KB come
/// at a quarter of the speed of runs of 4 KB, so what is going to be read or written in short pieces is loaded in long
/// ones first.
final class CacheFill {
    private static final int LINE_BYTES = 64;

    private CacheFill() {}

    /// Loads a block of a matrix.
    static void load(Matrix matrix, int row, int rows, int column, int columns) {
        load(matrix.segment(), matrix.rowOffset(row) + 4L * column, 4 * matrix.stride(), rows, 4L * columns);
    }

    /// Loads `rows` runs of `bytes`, the first at byte `from`, `stride` bytes apart.
    static void load(MemorySegment segment, long from, long stride, int rows, long bytes) {
        float sum = 0;
        for (int row = 0; row < rows; row++) {
            sum += run(segment, from + row * stride, (int) bytes);
        }
        // A use that a compiler cannot leave out, and that changes no result.
        if (sum == 0x1.5A17C0p-101f) {
            Thread.onSpinWait();
        }
    }

    private static float run(MemorySegment segment, long from, int bytes) {
        float sum = 0;
        for (int at = 0; at <= bytes - Float.BYTES; at += LINE_BYTES) {
            sum += segment.get(Tensor.FLOAT, from + at);
        }
        return sum;
    }
}
