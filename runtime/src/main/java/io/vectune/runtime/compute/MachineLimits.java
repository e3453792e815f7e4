package io.vectune.runtime.compute;

/// What this machine can do at most, measured: the yardstick beside every speed that this project reports.
///
/// Rates are the best of many short runs ([LimitProbe]), since a disturbance only ever makes a run slower.
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
    private static final long NANOS_EACH = 200_000_000L;

    /// Measures the limits: two seconds, and 384 MiB of memory.
    public static MachineLimits measure(ThreadTeam team) {
        try (ThreadTeam one = ThreadTeam.of(1);
                LimitProbe alone = new LimitProbe(one);
                LimitProbe all = new LimitProbe(team)) {
            return new MachineLimits(
                    team.size(),
                    KernelTier.choice().vectorBits(),
                    alone.fmaPeak(NANOS_EACH),
                    all.fmaPeak(NANOS_EACH),
                    alone.readBandwidth(NANOS_EACH),
                    all.readBandwidth(NANOS_EACH),
                    alone.writeBandwidth(NANOS_EACH),
                    all.writeBandwidth(NANOS_EACH));
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
}
