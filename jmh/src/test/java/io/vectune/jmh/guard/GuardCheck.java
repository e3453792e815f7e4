package io.vectune.jmh.guard;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/// The guard of this project's own hot paths; run by `mvn verify -Pguard` only.
class GuardCheck {
    @Test
    void hotPathsAreAsFastAsRecorded() throws IOException {
        Path baseline = Path.of(System.getProperty("vectune.guard.baseline", "baseline.json"));
        Path history = Path.of(System.getProperty("vectune.guard.history", "target/guard/history.jsonl"));
        assertThat(GuardMain.run(baseline, history, System.out)).as("see the table above").isTrue();
    }
}
