package io.vectune.models.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Function;

/// Compares cases with a baseline. What seems slower is measured again, up to [#REPEATS] times, and is called slower
/// only if it is so every time.
public final class SpeedCheck {
    /// How often a suspect is measured again.
    public static final int REPEATS = 3;

    private final Function<SpeedCase, SpeedResult> meter;
    private final Consumer<String> progress;

    /// @param meter measures a case, as [SpeedMeter#measure]
    /// @param progress is told what runs
    public SpeedCheck(Function<SpeedCase, SpeedResult> meter, Consumer<String> progress) {
        this.meter = meter;
        this.progress = progress;
    }

    /// One verdict an entry.
    ///
    /// @param cases must hold every entry of the baseline
    /// @throws IllegalArgumentException if an entry names no case
    public List<SpeedVerdict> check(SpeedBaseline baseline, List<SpeedCase> cases) {
        List<SpeedCase> chosen = new ArrayList<>();
        for (SpeedBaseline.Entry entry : baseline.entries()) {
            chosen.add(find(entry.name(), cases));
        }
        List<SpeedVerdict> verdicts = new ArrayList<>();
        for (int index = 0; index < chosen.size(); index++) {
            SpeedCase one = chosen.get(index);
            SpeedBaseline.Entry entry = baseline.entries().get(index);
            progress.accept(one.name());
            SpeedVerdict verdict = new SpeedVerdict(entry, meter.apply(one), 0);
            while (!verdict.passed() && verdict.repeats() < REPEATS) {
                progress.accept(one.name() + " again");
                verdict = new SpeedVerdict(entry, meter.apply(one), verdict.repeats() + 1);
            }
            verdicts.add(verdict);
        }
        return verdicts;
    }

    private static SpeedCase find(String name, List<SpeedCase> cases) {
        for (SpeedCase one : cases) {
            if (one.name().equals(name)) {
                return one;
            }
        }
        throw new IllegalArgumentException(
                name + ": expected the name of a case, one of " + cases.stream().map(SpeedCase::name).toList());
    }
}
