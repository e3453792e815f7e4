package io.vectune.runtime.compute;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// Brings memory into the nearest caches ahead of its use.
///
/// Code that decodes or copies piece by piece has few cache lines on their way at a time; a loop of nothing but loads
/// has several times as many. Java has no prefetch instruction.
public final class CacheLines {
    private static final int LINE = 64;

    private CacheLines() {}

    /// Loads a byte of every line of `[from, from + bytes)`. Changes nothing.
    public static void read(MemorySegment segment, long from, long bytes) {
        int lines = (int) (bytes / LINE);
        int sum = 0;
        for (int line = 0; line < lines; line++) {
            sum += segment.get(Tensor.BYTE, from + (long) LINE * line);
        }
        // A use of what was read that a compiler cannot leave out.
        if (sum == 0x5A17_C0DE) {
            Thread.onSpinWait();
        }
    }
}
