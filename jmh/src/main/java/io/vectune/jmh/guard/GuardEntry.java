package io.vectune.jmh.guard;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One guarded benchmark and what was recorded of it.
///
/// @param name what reports call it; unique in a baseline
/// @param benchmark class and method: `io.vectune.jmh.GemmBenchmark.multiply`
/// @param parameters values of its parameters
/// @param jvmArgs further arguments of its forks: `-Dvectune.kernels=scalar`
/// @param metric the counter that is guarded: `fmaPercent`, `readPercent`; a percentage of a limit of the same fork
/// @param share the recorded value of the metric; 0 if none is recorded, and none is judged
/// @param tolerance the fraction of `share` below which the guard fails, as 0.8
/// @param maxBytes bytes allocated an operation at most; negative: not guarded
/// @param relativeTo another entry of the same work, or null
/// @param minRatio operations a second of this entry over those of `relativeTo`, at least
public record GuardEntry(
        String name,
        String benchmark,
        Map<String, String> parameters,
        List<String> jvmArgs,
        String metric,
        double share,
        double tolerance,
        double maxBytes,
        @Nullable String relativeTo,
        double minRatio) {
    public GuardEntry {
        if (!(share >= 0) || !(tolerance > 0 && tolerance <= 1)) {
            throw new IllegalArgumentException(
                    name + ": expected share >= 0 and tolerance in (0, 1], found " + share + " and " + tolerance);
        }
        parameters = Map.copyOf(parameters);
        jvmArgs = List.copyOf(jvmArgs);
    }

    /// The least value of the metric that passes.
    public double leastShare() {
        return share * tolerance;
    }
}
