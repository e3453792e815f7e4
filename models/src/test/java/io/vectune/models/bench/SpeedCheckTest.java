package io.vectune.models.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.FileFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SpeedCheckTest {
    private static final SpeedCase CASE =
            new SpeedCase("work", Limit.FMA, "tokens", (compute, arena) -> new SpeedCase.Work(1, 1, () -> {}));

    @TempDir private Path folder;

    @Test
    void measuresASuspectUpToThreeTimesAgain() {
        SpeedBaseline baseline = new SpeedBaseline(2, 512, List.of(new SpeedBaseline.Entry("work", 80, 0.75)));
        for (int slowRuns = 0; slowRuns <= 4; slowRuns++) {
            int[] runs = {0};
            int slow = slowRuns;
            SpeedCheck check = new SpeedCheck(one -> result(runs[0]++ < slow ? 59.9 : 60.1), line -> {});
            SpeedVerdict verdict = check.check(baseline, List.of(CASE)).getFirst();
            assertThat(verdict.passed()).isEqualTo(slowRuns <= 3);
            assertThat(verdict.repeats()).isEqualTo(Math.min(slowRuns, 3));
        }
    }

    @Test
    void aShareThatIsNoNumberDoesNotPass() {
        SpeedBaseline.Entry entry = new SpeedBaseline.Entry("work", 80, 0.75);
        assertThat(new SpeedVerdict(entry, result(Double.NaN), 0).passed()).isFalse();
    }

    @Test
    void refusesAnEntryWithoutCase() {
        SpeedBaseline baseline = new SpeedBaseline(2, 512, List.of(new SpeedBaseline.Entry("other", 80, 0.75)));
        SpeedCheck check = new SpeedCheck(one -> result(80), line -> {});
        assertThatThrownBy(() -> check.check(baseline, List.of(CASE)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("other: expected the name of a case, one of [work]");
    }

    @Test
    void writesAndReadsABaseline() {
        Path file = folder.resolve("baseline.json");
        SpeedBaseline written = SpeedBaseline.of(2, 512, List.of(result(81.26)), 0.8);
        written.write(file, Map.of("date", "today"));
        assertThat(SpeedBaseline.read(file))
                .isEqualTo(new SpeedBaseline(2, 512, List.of(new SpeedBaseline.Entry("work", 81.3, 0.8))));
    }

    @Test
    void refusesBrokenBaselines() throws IOException {
        assertRefused("{}", "expected \"entries\"");
        assertRefused("{\"entries\": [{\"name\": \"a\", \"share\": \"x\"}]}", "expected a number \"share\"");
        assertRefused("{\"entries\": [{\"name\": \"a\", \"share\": -1, \"tolerance\": 0.5}]}", "found -1.0 and 0.5");
        assertRefused("{\"entries\": [", "not valid JSON");
        String entry = "{\"name\": \"a\", \"share\": 1, \"tolerance\": 0.5}";
        assertRefused("{\"entries\": [" + entry + ", " + entry + "]}", "found it twice");
    }

    private void assertRefused(String json, String problem) throws IOException {
        Path file = Files.writeString(folder.resolve("broken.json"), json);
        assertThatThrownBy(() -> SpeedBaseline.read(file))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("broken.json")
                .hasMessageContaining(problem);
    }

    private static SpeedResult result(double share) {
        return new SpeedResult("work", Limit.FMA, "tokens", 1, 1, 100, share, 1);
    }
}
