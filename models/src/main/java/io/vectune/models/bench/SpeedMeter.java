package io.vectune.models.bench;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.LimitProbe;
import io.vectune.runtime.compute.ThreadTeam;
import java.lang.foreign.Arena;
import java.util.Arrays;

/// Measures cases beside the limits of the machine, in one process.
///
/// A case runs until it gets no faster (the compiler is done), then in rounds: the limit, the case, the limit. The best
/// run of a round over the better of its two limits is its share; the median of the rounds is what counts. Both are
/// bests of their round, because a disturbance only ever makes a run slower; the median, because a round may be
/// disturbed from end to end.
public final class SpeedMeter implements AutoCloseable {
    private static final int ROUNDS = 5;

    /// Rounds, and slices of the warm-up, of a case whose single run takes longer than a slice.
    private static final int FEW = 3;

    private static final long ROUND_NANOS = 120_000_000L;
    private static final long PROBE_NANOS = 15_000_000L;

    /// No gain over so many slices in a row ends the warm-up.
    private static final int STABLE_SLICES = 4;

    private static final long SLICE_NANOS = 100_000_000L;
    private static final long LONGEST_WARM_UP_NANOS = 12_000_000_000L;
    private static final double GAIN = 1.03;

    private final ThreadTeam team;
    private final LimitProbe probe;

    /// @param team measures with all its threads; stays open
    @SuppressWarnings("MustBeClosedChecker") // closed in close()
    public SpeedMeter(ThreadTeam team) {
        this.team = team;
        this.probe = new LimitProbe(team);
    }

    /// Threads that it measures with.
    public int threads() {
        return team.size();
    }

    /// Measures a case: some seconds.
    public SpeedResult measure(SpeedCase one) {
        try (Arena arena = Arena.ofShared();
                Compute compute = new Compute(team);
                SpeedCase.Work work = one.opener().open(compute, arena)) {
            long nanos = warmUp(work.run());
            return measure(one, work, nanos > SLICE_NANOS ? FEW : ROUNDS);
        }
    }

    @Override
    public void close() {
        probe.close();
    }

    /// Nanoseconds of the best run.
    private static long warmUp(Runnable run) {
        long end = System.nanoTime() + LONGEST_WARM_UP_NANOS;
        long best = Long.MAX_VALUE;
        int stable = 0;
        while (stable < (best > SLICE_NANOS ? FEW : STABLE_SLICES) && System.nanoTime() < end) {
            long found = best(run, SLICE_NANOS);
            stable = found * GAIN < best ? 0 : stable + 1;
            best = Math.min(best, found);
        }
        return best;
    }

    private SpeedResult measure(SpeedCase one, SpeedCase.Work work, int rounds) {
        double[] shares = new double[rounds];
        double[] seconds = new double[rounds];
        double[] limits = new double[rounds];
        double before = one.limit().measure(probe, PROBE_NANOS);
        for (int round = 0; round < rounds; round++) {
            long nanos = best(work.run(), ROUND_NANOS);
            double after = one.limit().measure(probe, PROBE_NANOS);
            seconds[round] = 1e-9 * nanos;
            limits[round] = Math.max(before, after);
            shares[round] = 100 * work.cost() / nanos / limits[round];
            before = after;
        }
        Arrays.sort(shares);
        Arrays.sort(seconds);
        Arrays.sort(limits);
        int middle = rounds / 2;
        return new SpeedResult(
                one.name(),
                one.limit(),
                one.unit(),
                seconds[middle],
                work.units() / seconds[middle],
                limits[middle],
                shares[middle],
                shares[rounds - 1] / shares[0]);
    }

    /// Nanoseconds of the fastest of all runs within the time, at least one.
    private static long best(Runnable run, long nanos) {
        long end = System.nanoTime() + nanos;
        long best = Long.MAX_VALUE;
        do {
            long start = System.nanoTime();
            run.run();
            best = Math.min(best, Math.max(1, System.nanoTime() - start));
        } while (System.nanoTime() < end);
        return best;
    }
}
