package io.vectune.runtime.compute;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Measures a limit of the machine in a few milliseconds, again and again: the yardstick laid beside a kernel just
/// before and just after it runs, on the same threads.
///
/// A rate is the best of many runs of well under a millisecond, since a disturbance only ever makes a run slower, and a
/// short run fits between two disturbances.
public final class LimitProbe implements AutoCloseable {
    /// Memory that is read and written: several times a large last-level cache.
    private static final long BYTES = 192L << 20;

    private static final int BLOCK_BYTES = 1 << 20;

    /// Memory of one run; runs take turns through all of it.
    private static final int BLOCKS_A_RUN = 16;

    private static final int SHORT_BYTES = 1 << 12;
    private static final int FMA_ROUNDS = 100_000;
    private static final int SHORT_ROUNDS = 50;
    private static final long WARM_UP_NANOS = 300_000_000L;
    private static final long LONGEST_WARM_UP_NANOS = 10_000_000_000L;

    /// GFLOP/s that no interpreter and every compiled loop reaches.
    private static final double INTERPRETED_RATE = 0.5;

    private static final int MIN_RUNS = 6;

    private final ThreadTeam team;
    private final LimitLoops loops;
    private final Arena arena;
    private final MemorySegment memory;
    private final double[] sums;
    private final ThreadTeam.Task multiplyAdd;
    private final ThreadTeam.Task read;
    private final ThreadTeam.Task write;
    private int firstBlock;

    /// Allocates 192 MiB and runs the loops until they are compiled: about half a second.
    ///
    /// @param team measures with all its threads; stays open
    @SuppressWarnings("MustBeClosedChecker") // closed in close()
    public LimitProbe(ThreadTeam team) {
        this.team = team;
        this.loops = KernelTier.active() == KernelTier.VECTOR ? new LimitLoopsVector() : new LimitLoopsScalar();
        this.arena = Arena.ofShared();
        this.memory = arena.allocate(BYTES, 64);
        this.sums = new double[team.size()];
        this.multiplyAdd =
                (from, to, worker) -> {
                    for (int unit = from; unit < to; unit++) {
                        sums[worker] += loops.multiplyAdd(FMA_ROUNDS);
                    }
                };
        this.read =
                (from, to, worker) -> {
                    for (int block = from; block < to; block++) {
                        sums[worker] += loops.read(memory, (long) (firstBlock + block) * BLOCK_BYTES, BLOCK_BYTES);
                    }
                };
        this.write =
                (from, to, worker) -> {
                    for (int block = from; block < to; block++) {
                        loops.write(memory, (long) (firstBlock + block) * BLOCK_BYTES, BLOCK_BYTES);
                    }
                };
        warmUp();
    }

    /// f32 fused multiply-adds, two operations each, on all threads of the team: GFLOP/s.
    ///
    /// @param nanos how long to measure
    public double fmaPeak(long nanos) {
        int units = team.size();
        return best(nanos, units, multiplyAdd, (double) units * FMA_ROUNDS * loops.operationsPerRound());
    }

    /// Plain loads from memory far larger than the caches: GB/s.
    public double readBandwidth(long nanos) {
        return best(nanos, BLOCKS_A_RUN, read, (double) BLOCKS_A_RUN * BLOCK_BYTES);
    }

    /// Plain stores to such memory: GB/s.
    public double writeBandwidth(long nanos) {
        return best(nanos, BLOCKS_A_RUN, write, (double) BLOCKS_A_RUN * BLOCK_BYTES);
    }

    /// Frees the memory; the team stays.
    @Override
    public void close() {
        arena.close();
    }

    /// Runs the loops in small pieces until they are compiled: no faster for a while, and faster than an interpreter.
    private void warmUp() {
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
        requireNumber(sum);
        // Touches every page and compiles the loops over long blocks.
        for (int run = 0; run < BYTES / BLOCK_BYTES / BLOCKS_A_RUN; run++) {
            step(BLOCKS_A_RUN, write);
            step(BLOCKS_A_RUN, read);
        }
    }

    private void step(int units, ThreadTeam.Task task) {
        team.run(units, 1, task);
        firstBlock = (firstBlock + BLOCKS_A_RUN) % (int) (BYTES / BLOCK_BYTES);
    }

    private double best(long nanos, int units, ThreadTeam.Task task, double work) {
        long end = System.nanoTime() + nanos;
        double best = 0;
        for (int runs = 0; runs < MIN_RUNS || System.nanoTime() < end; runs++) {
            long start = System.nanoTime();
            step(units, task);
            best = Math.max(best, work / Math.max(1, System.nanoTime() - start));
        }
        requireNumber(Arrays.stream(sums).sum());
        return best;
    }

    /// What the loops computed goes into this check, so that none of it can be left out.
    private static void requireNumber(double sum) {
        if (Double.isNaN(sum)) {
            throw new IllegalStateException("the measured loops computed NaN");
        }
    }
}
