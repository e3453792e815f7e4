package io.vectune.jmh.guard;

/// Runs the benchmark of an entry.
@FunctionalInterface
public interface BenchmarkRunner {
    /// Runs it in so many forks.
    Measurement measure(GuardEntry entry, int forks);
}
