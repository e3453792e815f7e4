package io.vectune.jmh.guard;

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

class GuardTest {
    private static final String PLANTED = PlantedBenchmarks.class.getName();

    @TempDir private Path folder;

    @Test
    void catchesAPlantedSlowdownAndAPlantedAllocation() {
        JmhRunner runner = new JmhRunner(300, 100);
        double recorded = runner.measure(entry("good", "good", 1), 1).share();
        GuardBaseline baseline =
                new GuardBaseline(
                        List.of(
                                entry("good", "good", recorded),
                                entry("slow", "slow", recorded),
                                entry("allocating", "allocating", recorded / 100)));
        // One fork each is enough here: the slowdown is of a factor of twenty.
        GuardReport report = new Guard((entry, forks) -> runner.measure(entry, 1), name -> {}).check(baseline);
        assertThat(report.verdicts().get(0).problem()).isEmpty();
        assertThat(report.verdicts().get(1).problem()).startsWith("slower: readPercent is ");
        assertThat(report.verdicts().get(2).problem()).startsWith("allocates ");
        assertThat(report.passed()).isFalse();
        assertThat(report.table()).contains("good", "ok", "slower");
    }

    @Test
    void measuresASuspectAgain() {
        int[] calls = {0};
        Guard guard =
                new Guard(
                        (entry, forks) -> {
                            calls[0]++;
                            return forks == 5 ? of(80, 100, 0) : of(39, 100, 0);
                        },
                        name -> {});
        GuardReport report = guard.check(new GuardBaseline(List.of(entry("a", "good", 80))));
        assertThat(calls[0]).isEqualTo(2);
        assertThat(report.passed()).isTrue();
    }

    @Test
    void comparesWithTheEntryItIsRelativeTo() {
        GuardEntry reference = entry("f32", "good", 80);
        GuardEntry quantized =
                new GuardEntry("hqq", PLANTED + ".good", Map.of(), List.of(), "fmaPercent", 70, 0.8, 1, "f32", 0.9);
        Guard guard =
                new Guard((entry, forks) -> entry.name().equals("f32") ? of(80, 100, 0) : of(70, 85, 0), name -> {});
        GuardReport report = guard.check(new GuardBaseline(List.of(reference, quantized)));
        assertThat(report.verdicts().get(0).passed()).isTrue();
        assertThat(report.verdicts().get(1).problem()).isEqualTo("only 0.85 times the speed of f32, at least 0.90");
    }

    @Test
    void keepsAHistoryAndDrawsIt() throws IOException {
        GuardHistory history = new GuardHistory(folder.resolve("trend").resolve("history.jsonl"));
        for (int run = 0; run < 3; run++) {
            double share = 70 + run;
            GuardReport report =
                    new Guard((entry, forks) -> of(share, 100, 0), name -> {})
                            .check(new GuardBaseline(List.of(entry("gemm <f32>", "good", 80))));
            history.append(report.historyLine(Map.of("commit", "c" + run)));
        }
        assertThat(Files.readAllLines(history.file())).hasSize(3).first().asString().contains("\"gemm <f32>\":70.0");
        assertThat(history.plot()).contains("<polyline", "gemm &lt;f32>", "3 runs").endsWith("</svg>\n");
    }

    @Test
    void readsItsBaselineAndRefusesABrokenOne() throws IOException {
        Path file = folder.resolve("baseline.json");
        Files.writeString(
                file,
                """
                {"entries": [{"name": "a", "benchmark": "b.C.d", "parameters": {"threads": "1"}, "metric": "fmaPercent",
                              "share": 81.5}]}
                """);
        GuardEntry entry = GuardBaseline.read(file).entries().getFirst();
        assertThat(entry.parameters()).isEqualTo(Map.of("threads", "1"));
        assertThat(entry.leastShare()).isEqualTo(81.5 * 0.8);
        Files.writeString(file, "{\"entries\": [{\"name\": \"a\"}]}");
        assertThatThrownBy(() -> GuardBaseline.read(file))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("baseline.json")
                .hasMessageContaining("\"benchmark\"");
        Files.writeString(file, "{\"entries\": [");
        assertThatThrownBy(() -> GuardBaseline.read(file)).isInstanceOf(FileFormatException.class);
    }

    private static GuardEntry entry(String name, String method, double share) {
        return new GuardEntry(name, PLANTED + "." + method, Map.of(), List.of(), "readPercent", share, 0.5, 1, null, 0);
    }

    private static Measurement of(double share, double rate, double bytes) {
        return new Measurement(List.of(share), List.of(rate), List.of(bytes));
    }
}
