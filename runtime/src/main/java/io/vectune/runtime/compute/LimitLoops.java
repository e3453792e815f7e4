package io.vectune.runtime.compute;

import java.lang.foreign.MemorySegment;

/// The loops that [LimitProbe] times.
interface LimitLoops {
    /// Independent chains of multiply-adds: more than latency times units of any core of today (4 cycles x 2 units).
    int CHAINS = 12;

    /// Floating-point operations in one round of [#multiplyAdd].
    long operationsPerRound();

    /// `rounds` multiply-adds in each of [#CHAINS] chains; what they add up to.
    float multiplyAdd(int rounds);

    /// Reads all bytes; what they add up to, as words.
    float read(MemorySegment memory, long from, int bytes);

    /// Writes zeros.
    void write(MemorySegment memory, long from, int bytes);
}
