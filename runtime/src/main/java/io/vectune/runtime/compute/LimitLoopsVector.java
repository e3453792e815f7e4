package io.vectune.runtime.compute;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// The loops in the Vector API, at the width in use.
final class LimitLoopsVector implements LimitLoops {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final VectorSpecies<Integer> I32 = F32.withLanes(int.class);
    private static final int LANES = F32.length();
    private static final int STEP = I32.vectorByteSize();
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;

    @Override
    public long operationsPerRound() {
        return 2L * CHAINS * LANES;
    }

    @Override
    public float multiplyAdd(int rounds) {
        // The left side of every operation has an exact class, so that C2 keeps the chains in registers whatever other
        // vector widths the process has used.
        FloatVector half = FloatVector.broadcast(F32, 0.5f);
        FloatVector one = FloatVector.broadcast(F32, 1f);
        FloatVector c0 = FloatVector.broadcast(F32, 0f);
        FloatVector c1 = FloatVector.broadcast(F32, 1f);
        FloatVector c2 = FloatVector.broadcast(F32, 2f);
        FloatVector c3 = FloatVector.broadcast(F32, 3f);
        FloatVector c4 = FloatVector.broadcast(F32, 4f);
        FloatVector c5 = FloatVector.broadcast(F32, 5f);
        FloatVector c6 = FloatVector.broadcast(F32, 6f);
        FloatVector c7 = FloatVector.broadcast(F32, 7f);
        FloatVector c8 = FloatVector.broadcast(F32, 8f);
        FloatVector c9 = FloatVector.broadcast(F32, 9f);
        FloatVector c10 = FloatVector.broadcast(F32, 10f);
        FloatVector c11 = FloatVector.broadcast(F32, 11f);
        for (int round = 0; round < rounds; round++) {
            c0 = half.fma(c0, one);
            c1 = half.fma(c1, one);
            c2 = half.fma(c2, one);
            c3 = half.fma(c3, one);
            c4 = half.fma(c4, one);
            c5 = half.fma(c5, one);
            c6 = half.fma(c6, one);
            c7 = half.fma(c7, one);
            c8 = half.fma(c8, one);
            c9 = half.fma(c9, one);
            c10 = half.fma(c10, one);
            c11 = half.fma(c11, one);
        }
        FloatVector sum =
                one.mul(c0).add(c1).add(c2).add(c3).add(c4).add(c5).add(c6).add(c7).add(c8).add(c9).add(c10).add(c11);
        return Lanes.sum(sum);
    }

    @Override
    public float read(MemorySegment memory, long from, int bytes) {
        IntVector sum0 = IntVector.zero(I32);
        IntVector sum1 = IntVector.zero(I32);
        IntVector sum2 = IntVector.zero(I32);
        IntVector sum3 = IntVector.zero(I32);
        for (int at = 0; at < bytes; at += 4 * STEP) {
            sum0 = IntVector.fromMemorySegment(I32, memory, from + at, LITTLE).add(sum0);
            sum1 = IntVector.fromMemorySegment(I32, memory, from + at + STEP, LITTLE).add(sum1);
            sum2 = IntVector.fromMemorySegment(I32, memory, from + at + 2L * STEP, LITTLE).add(sum2);
            sum3 = IntVector.fromMemorySegment(I32, memory, from + at + 3L * STEP, LITTLE).add(sum3);
        }
        return IntVector.zero(I32).add(sum0).add(sum1).add(sum2).add(sum3).lane(0);
    }

    @Override
    public void write(MemorySegment memory, long from, int bytes) {
        FloatVector zero = FloatVector.zero(F32);
        for (int at = 0; at < bytes; at += STEP) {
            zero.intoMemorySegment(memory, from + at, LITTLE);
        }
    }
}
