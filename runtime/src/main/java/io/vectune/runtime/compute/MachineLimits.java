package io.vectune.runtime.compute;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// What this machine can do at most, measured: the yardstick beside every speed that this project reports.
///
/// Rates are the best of many short runs, since a disturbance only ever makes a run slower.
///
/// @param threads threads of the team that measured
/// @param vectorBits vector width of the loops; 0 in the scalar tier
/// @param fmaOneThread f32 fused multiply-add, two operations each, one thread: GFLOP/s
/// @param fmaAllThreads the same on all threads of the team
/// @param readOneThread plain loads from memory far larger than the caches, one thread: GB/s
/// @param readAllThreads the same on all threads
/// @param writeOneThread plain stores to such memory, one thread: GB/s
/// @param writeAllThreads the same on all threads
public record MachineLimits(
        int threads,
        int vectorBits,
        double fmaOneThread,
        double fmaAllThreads,
        double readOneThread,
        double readAllThreads,
        double writeOneThread,
        double writeAllThreads) {
    /// Bytes read or written in one run: several times a large last-level cache.
    private static final long BYTES = 192L << 20;

    private static final int BLOCK_BYTES = 1 << 20;
    private static final int SHORT_BYTES = 1 << 12;
    private static final int FMA_ROUNDS = 20_000;
    private static final int SHORT_ROUNDS = 50;
    private static final long WARM_UP_NANOS = 500_000_000L;
    private static final long LONGEST_WARM_UP_NANOS = 10_000_000_000L;

    /// GFLOP/s that no interpreter and every compiled loop reaches.
    private static final double INTERPRETED_RATE = 0.5;

    private static final long NANOS_EACH = 200_000_000L;
    private static final int MIN_RUNS = 6;

    /// Measures the limits: a second or two, and 192 MiB of memory.
    public static MachineLimits measure(ThreadTeam team) {
        LimitLoops loops = KernelTier.active() == KernelTier.VECTOR ? new LimitLoopsVector() : new LimitLoopsScalar();
        try (Arena arena = Arena.ofShared();
                ThreadTeam alone = ThreadTeam.of(1)) {
            MemorySegment memory = arena.allocate(BYTES, 64);
            warmUp(loops, memory);
            return new MachineLimits(
                    team.size(),
                    KernelTier.choice().vectorBits(),
                    fma(alone, loops),
                    fma(team, loops),
                    stream(alone, memory, loops, false),
                    stream(team, memory, loops, false),
                    stream(alone, memory, loops, true),
                    stream(team, memory, loops, true));
        }
    }

    /// The peak of fused multiply-adds with `threads` threads, 1 or all.
    public double fmaPeak(int threads) {
        return threads == 1 ? fmaOneThread : fmaAllThreads;
    }

    /// The read bandwidth with `threads` threads, 1 or all.
    public double readBandwidth(int threads) {
        return threads == 1 ? readOneThread : readAllThreads;
    }

    /// The write bandwidth with `threads` threads, 1 or all.
    public double writeBandwidth(int threads) {
        return threads == 1 ? writeOneThread : writeAllThreads;
    }

    /// Runs the loops in small pieces until they are compiled: no faster for a while, and faster than an interpreter.
    private static void warmUp(LimitLoops loops, MemorySegment memory) {
        double sum = 0;
        double best = 0;
        long start = System.nanoTime();
        long gained = start;
        double work = (double) SHORT_ROUNDS * loops.operationsPerRound();
        for (long now = start; now - start < LONGEST_WARM_UP_NANOS; now = System.nanoTime()) {
            if (now - gained > WARM_UP_NANOS && best > INTERPRETED_RATE) {
                break;
            }
            sum += loops.multiplyAdd(SHORT_ROUNDS);
            double rate = work / Math.max(1, System.nanoTime() - now);
            if (rate > 1.05 * best) {
                best = rate;
                gained = now;
            }
            sum += loops.read(memory, 0, SHORT_BYTES);
            loops.write(memory, 0, SHORT_BYTES);
        }
        if (Double.isNaN(sum)) {
            throw new IllegalStateException("the measured loops computed NaN");
        }
    }

    private static double fma(ThreadTeam team, LimitLoops loops) {
        double[] sums = new double[team.size()];
        int units = team.size();
        double work = (double) units * FMA_ROUNDS * loops.operationsPerRound();
        return best(
                work,
                sums,
                () ->
                        team.run(
                                units,
                                1,
                                (from, to, worker) -> {
                                    for (int unit = from; unit < to; unit++) {
                                        sums[worker] += loops.multiplyAdd(FMA_ROUNDS);
                                    }
                                }));
    }

    private static double stream(ThreadTeam team, MemorySegment memory, LimitLoops loops, boolean write) {
        double[] sums = new double[team.size()];
        return best(
                BYTES,
                sums,
                () ->
                        team.run(
                                (int) (BYTES / BLOCK_BYTES),
                                1,
                                (from, to, worker) -> {
                                    for (int block = from; block < to; block++) {
                                        long at = (long) block * BLOCK_BYTES;
                                        if (write) {
                                            loops.write(memory, at, BLOCK_BYTES);
                                        } else {
                                            sums[worker] += loops.read(memory, at, BLOCK_BYTES);
                                        }
                                    }
                                }));
    }

    /// The most work a nanosecond of all runs within the time; what the runs computed goes into the check, so that none
    /// of it can be left out.
    private static double best(double work, double[] sums, Runnable run) {
        long end = System.nanoTime() + NANOS_EACH;
        double best = 0;
        for (int runs = 0; runs < MIN_RUNS || System.nanoTime() < end; runs++) {
            long start = System.nanoTime();
            run.run();
            best = Math.max(best, work / Math.max(1, System.nanoTime() - start));
        }
        if (Double.isNaN(Arrays.stream(sums).sum())) {
            throw new IllegalStateException("the measured loops computed NaN");
        }
        return best;
    }
}
