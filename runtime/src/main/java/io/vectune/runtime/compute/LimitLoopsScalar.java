package io.vectune.runtime.compute;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// The loops in plain Java.
final class LimitLoopsScalar implements LimitLoops {
    @Override
    public long operationsPerRound() {
        return 2L * CHAINS;
    }

    @Override
    public float multiplyAdd(int rounds) {
        float[] chains = new float[CHAINS];
        for (int round = 0; round < rounds; round++) {
            for (int chain = 0; chain < CHAINS; chain++) {
                chains[chain] = Math.fma(0.5f, chains[chain], chain);
            }
        }
        float sum = 0;
        for (float chain : chains) {
            sum += chain;
        }
        return sum;
    }

    @Override
    public float read(MemorySegment memory, long from, int bytes) {
        long sum = 0;
        for (int at = 0; at < bytes; at += Long.BYTES) {
            sum += memory.get(ValueLayout.JAVA_LONG_UNALIGNED, from + at);
        }
        return sum;
    }

    @Override
    public void write(MemorySegment memory, long from, int bytes) {
        for (int at = 0; at < bytes; at += Long.BYTES) {
            memory.set(ValueLayout.JAVA_LONG_UNALIGNED, from + at, 0L);
        }
    }
}
