package io.vectune.cli;

import io.vectune.runtime.compute.CpuTopology;
import picocli.CommandLine.Option;

/// The option `--threads` of every command that computes.
final class ThreadsOption {
    private static final int MAX_THREADS = 1024;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Threads to compute with (default: one a physical core).")
    private int threads;

    /// The size of the thread team.
    ///
    /// @throws UsageException if no team can have the size that was asked for
    int size() {
        if (threads < 0 || threads > MAX_THREADS) {
            throw new UsageException("--threads: expected 1 to " + MAX_THREADS + ", found " + threads);
        }
        return threads > 0 ? threads : CpuTopology.usablePhysicalCores();
    }
}
