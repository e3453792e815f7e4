package io.vectune.quant.lanes;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.IntVector;

/// Brings memory into the nearest cache before a kernel decodes it.
///
/// Decoding spends so many operations on a cache line that few lines are on their way at a time; a loop of nothing but
/// loads has several times as many in flight. A block of rows is therefore read once by such a loop, then multiplied.
/// The Vector API has no prefetch instruction.
///
/// What is in a cache already is only read twice by this, at a cost of up to a third of the speed. Whether it is
/// depends on the model around a weight and on who else uses the cache, so one block of [#SAMPLED] is timed
/// ([#fromMemory]), and the rest are read ahead only if it came from memory. Results do not depend on it.
public final class ReadAhead {
    /// Bytes read ahead together: enough for many lines in flight, little beside a nearest cache of 32 KiB.
    public static final int BYTES = 8 << 10;

    /// Blocks of which one is timed.
    public static final int SAMPLED = 64;

    private static final long LINE = 64;
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;

    /// Lines of the second and third cache level arrive in 0.8 to 1.3 ns each, those of memory in 2 to 3 (Zen 5; slower
    /// machines are taken to read from memory always).
    private static final double CACHED_NANOS_A_LINE = 1.6;

    /// What the clock itself takes.
    private static final double CLOCK_NANOS = 30;

    private ReadAhead() {}

    /// Reads as [#read] does, and tells whether the lines came so slowly that they were in no cache.
    public static boolean fromMemory(MemorySegment segment, long from, long bytes) {
        long start = System.nanoTime();
        read(segment, from, bytes);
        return System.nanoTime() - start > CLOCK_NANOS + CACHED_NANOS_A_LINE * (bytes / (double) LINE);
    }

    /// Loads every line of `[from, from + bytes)`, but for a last one that ends behind the segment.
    public static void read(MemorySegment segment, long from, long bytes) {
        long end = Math.min(from + bytes, segment.byteSize() - LINE + 1);
        int lines = (int) Math.max(0, (end - from + LINE - 1) / LINE);
        IntVector sum0 = IntVector.zero(Lanes.I32);
        IntVector sum1 = IntVector.zero(Lanes.I32);
        int line = 0;
        for (; line <= lines - 4; line += 4) {
            long at = from + LINE * line;
            sum0 = sum0.or(IntVector.fromMemorySegment(Lanes.I32, segment, at, LITTLE));
            sum1 = sum1.or(IntVector.fromMemorySegment(Lanes.I32, segment, at + LINE, LITTLE));
            sum0 = sum0.or(IntVector.fromMemorySegment(Lanes.I32, segment, at + 2 * LINE, LITTLE));
            sum1 = sum1.or(IntVector.fromMemorySegment(Lanes.I32, segment, at + 3 * LINE, LITTLE));
        }
        for (; line < lines; line++) {
            sum0 = sum0.or(IntVector.fromMemorySegment(Lanes.I32, segment, from + LINE * line, LITTLE));
        }
        // A use of what was read that a compiler cannot leave out, and that has no effect on any result.
        if (sum0.or(sum1).lane(0) == 0x5A17_C0DE) {
            Thread.onSpinWait();
        }
    }
}
