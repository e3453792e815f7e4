package io.vectune.jmh;

import io.vectune.models.bench.RandomWeights;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.LimitProbe;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/// What every kernel benchmark needs: a team of so many threads, a session, memory, and the machine's limits.
@State(Scope.Benchmark)
public abstract class KernelState {
    private static final long PROBE_NANOS = 12_000_000L;

    @Param({"1", "2"})
    public int threads;

    protected Arena arena;
    protected ThreadTeam team;
    protected Compute compute;
    private LimitProbe probe;

    @SuppressWarnings("NullAway.Init") // JMH calls open before anything else
    protected KernelState() {}

    @Setup
    @SuppressWarnings("MustBeClosedChecker") // closed in shut()
    public void open() {
        arena = Arena.ofShared();
        team = ThreadTeam.of(threads);
        compute = new Compute(team);
        probe = new LimitProbe(team);
        ForkRecord.open(probe, threads);
        prepare();
    }

    /// Makes the operands and checks the result of one call; throws when it is wrong.
    protected abstract void prepare();

    /// Frees what [#prepare] opened.
    protected void release() {}

    // JMH calls a method once for each class that annotates it: this one is for all.
    @TearDown
    public final void shut() {
        release();
        ForkRecord.close();
        probe.close();
        compute.close();
        team.close();
        arena.close();
    }

    /// Plain stores to memory far larger than the caches, now, on the same threads: GB/s.
    protected final double writeBandwidth() {
        return probe.writeBandwidth(PROBE_NANOS);
    }

    /// A matrix of uniform numbers in [-1, 1).
    protected final Matrix random(int rows, int columns, long seed) {
        return RandomWeights.matrix(arena, rows, columns, seed);
    }

    /// Fails unless `found` is `expected` up to the rounding of a sum of `terms` numbers of size one.
    protected static void requireClose(String what, double expected, double found, int terms) {
        double tolerance = 2e-6 * (1 + Math.sqrt(terms)) * (1 + Math.abs(expected) / (1 + Math.sqrt(terms)));
        if (!(Math.abs(expected - found) <= tolerance)) {
            throw new IllegalStateException(what + ": expected " + expected + ", found " + found);
        }
    }
}
