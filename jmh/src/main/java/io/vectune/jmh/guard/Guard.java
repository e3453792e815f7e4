package io.vectune.jmh.guard;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Runs a baseline in rounds of one fork an entry, so that the forks of an entry lie minutes apart and one disturbance
/// does not meet them all. A suspect is measured again, and the entry it is relative to with it: only what is slow
/// every time is reported.
public final class Guard {
    private static final int ROUNDS = 2;
    private static final int REPEATS = 3;
    private static final int FORKS_A_REPEAT = 3;

    private final BenchmarkRunner runner;
    private final Comparability comparability;
    private final Consumer<String> progress;

    /// @param comparability what of the baseline can be judged on this machine
    /// @param progress is told what runs
    public Guard(BenchmarkRunner runner, Comparability comparability, Consumer<String> progress) {
        this.runner = runner;
        this.comparability = comparability;
        this.progress = progress;
    }

    /// Runs all entries and judges them.
    public GuardReport check(GuardBaseline baseline) {
        Map<String, Measurement> found = measure(baseline, ROUNDS);
        List<GuardVerdict> verdicts = new ArrayList<>();
        for (GuardEntry entry : baseline.entries()) {
            GuardVerdict verdict = verdict(entry, found);
            for (int repeat = 0; repeat < REPEATS && !verdict.passed(); repeat++) {
                progress.accept(entry.name() + ": " + verdict.problem() + "; measured again");
                found.put(entry.name(), runner.measure(entry, FORKS_A_REPEAT));
                GuardEntry other = baseline.find(entry.relativeTo());
                if (other != null) {
                    found.put(other.name(), runner.measure(other, FORKS_A_REPEAT));
                }
                verdict = verdict(entry, found);
            }
            verdicts.add(verdict);
        }
        return new GuardReport(verdicts);
    }

    /// Runs all entries, so many forks each.
    public Map<String, Measurement> measure(GuardBaseline baseline, int rounds) {
        Map<String, Measurement> found = new LinkedHashMap<>();
        for (int round = 1; round <= rounds; round++) {
            progress.accept("round " + round + " of " + rounds + ", " + baseline.entries().size() + " benchmarks");
            for (GuardEntry entry : baseline.entries()) {
                found.merge(entry.name(), runner.measure(entry, 1), Measurement::and);
            }
        }
        return found;
    }

    /// Judges what was measured, without measuring again.
    public GuardReport judge(GuardBaseline baseline, Map<String, Measurement> found) {
        return new GuardReport(baseline.entries().stream().map(entry -> verdict(entry, found)).toList());
    }

    private GuardVerdict verdict(GuardEntry entry, Map<String, Measurement> found) {
        Measurement own = measurement(found, entry.name());
        @Nullable String other = entry.relativeTo();
        double relativeRate = other == null ? Double.NaN : measurement(found, other).rate();
        return GuardVerdict.of(entry, own, relativeRate, comparability);
    }

    private static Measurement measurement(Map<String, Measurement> found, String name) {
        Measurement measurement = found.get(name);
        if (measurement == null) {
            throw new IllegalStateException(name + ": was not measured");
        }
        return measurement;
    }
}
