package io.vectune.jmh.guard;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

/// Runs a baseline. A suspect is measured again with more forks, and the entry it is relative to with it: only what is
/// slow twice is reported.
public final class Guard {
    private static final int FORKS = 2;
    private static final int FORKS_FOR_SUSPECTS = 5;

    private final BenchmarkRunner runner;
    private final Consumer<String> progress;

    /// @param progress is told what runs
    public Guard(BenchmarkRunner runner, Consumer<String> progress) {
        this.runner = runner;
        this.progress = progress;
    }

    /// Runs all entries.
    public GuardReport check(GuardBaseline baseline) {
        Map<String, Measurement> found = new HashMap<>();
        for (GuardEntry entry : baseline.entries()) {
            progress.accept(entry.name());
            found.put(entry.name(), runner.measure(entry, FORKS));
        }
        List<GuardVerdict> verdicts = new ArrayList<>();
        for (GuardEntry entry : baseline.entries()) {
            GuardVerdict verdict = verdict(entry, found, FORKS);
            if (!verdict.passed()) {
                progress.accept(entry.name() + ": " + verdict.problem() + "; measured again");
                found.put(entry.name(), runner.measure(entry, FORKS_FOR_SUSPECTS));
                for (GuardEntry other : baseline.entries()) {
                    if (other.name().equals(entry.relativeTo())) {
                        found.put(other.name(), runner.measure(other, FORKS_FOR_SUSPECTS));
                    }
                }
                verdict = verdict(entry, found, FORKS_FOR_SUSPECTS);
            }
            verdicts.add(verdict);
        }
        return new GuardReport(verdicts);
    }

    private static GuardVerdict verdict(GuardEntry entry, Map<String, Measurement> found, int forks) {
        Measurement own = measurement(found, entry.name());
        String other = entry.relativeTo();
        double relativeRate = other == null ? Double.NaN : measurement(found, other).rate();
        return GuardVerdict.of(entry, own, relativeRate, forks);
    }

    private static Measurement measurement(Map<String, Measurement> found, String name) {
        Measurement measurement = found.get(name);
        if (measurement == null) {
            throw new IllegalStateException(name + ": was not measured");
        }
        return measurement;
    }
}
