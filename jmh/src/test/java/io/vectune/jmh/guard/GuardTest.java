package io.vectune.jmh.guard;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.jmh.guard.GuardBaseline.Machine;
import io.vectune.runtime.FileFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GuardTest {
    private static final Machine ANY = new Machine("", 0);

    @TempDir private Path folder;

    @Test
    void catchesAPlantedScalarLoopAndAPlantedAllocation() {
        JmhRunner runner = new JmhRunner(300, 60);
        double recorded = runner.measure(planted("good", 1), 1).share();
        GuardBaseline baseline =
                new GuardBaseline(
                        ANY,
                        List.of(
                                planted("good", recorded),
                                planted("scalarLoop", recorded),
                                planted("allocating", recorded)));
        // One fork each is enough here: the slowdown is manifold, the allocation exact.
        GuardReport report =
                new Guard((entry, forks) -> runner.measure(entry, 1), Comparability.EVERYTHING, line -> {})
                        .check(baseline);
        assertThat(report.verdicts().get(0).problem()).isEmpty();
        assertThat(report.verdicts().get(0).bytes()).isLessThan(1);
        assertThat(report.verdicts().get(1).problem()).startsWith("slower: readPercent is ");
        assertThat(report.verdicts().get(2).problem()).contains("allocates 80 bytes an operation, at most 1");
        assertThat(report.passed()).isFalse();
        assertThat(report.table()).contains("good", "ok", "slower");
    }

    @Test
    void measuresASuspectUpToThreeTimesAgain() {
        for (int slowRuns = 0; slowRuns <= 4; slowRuns++) {
            int[] repeats = {0};
            int slow = slowRuns;
            Guard guard =
                    new Guard(
                            (entry, forks) -> {
                                if (forks > 1) {
                                    repeats[0]++;
                                }
                                return of(repeats[0] < slow ? 39 : 80, 100, 0);
                            },
                            Comparability.EVERYTHING,
                            line -> {});
            GuardReport report = guard.check(new GuardBaseline(ANY, List.of(planted("good", 80))));
            assertThat(repeats[0]).isEqualTo(Math.min(slowRuns, 3));
            assertThat(report.passed()).isEqualTo(slowRuns <= 3);
        }
    }

    @Test
    void comparesWithTheEntryItIsRelativeTo() {
        GuardReport report =
                guardOf(Comparability.EVERYTHING).check(new GuardBaseline(ANY, List.of(scalarTier(), vectorTier())));
        assertThat(report.verdicts().get(0).passed()).isTrue();
        assertThat(report.verdicts().get(1).problem())
                .isEqualTo("only 4.25 times the speed of scalar tier, at least 6.00");
    }

    @Test
    void judgesOnlyAllocationsOnOtherVectors() {
        assertThat(Comparability.of(new Machine("A", 512), new Machine("A", 256))).isEqualTo(Comparability.ALLOCATIONS);
        GuardBaseline baseline = new GuardBaseline(ANY, List.of(scalarTier(), vectorTier()));
        assertThat(guardOf(Comparability.ALLOCATIONS).check(baseline).passed()).isTrue();
        GuardReport report =
                new Guard((entry, forks) -> of(80, 100, 24), Comparability.ALLOCATIONS, line -> {})
                        .check(new GuardBaseline(ANY, List.of(planted("good", 200))));
        assertThat(report.verdicts().getFirst().problem()).isEqualTo("allocates 24 bytes an operation, at most 1");
    }

    @Test
    void judgesRatiosButNoSharesOfLimitsOnAnotherProcessor() {
        assertThat(Comparability.of(new Machine("A", 512), new Machine("B", 512))).isEqualTo(Comparability.RATIOS);
        assertThat(Comparability.of(new Machine("A", 512), new Machine("A", 512))).isEqualTo(Comparability.EVERYTHING);
        assertThat(Comparability.of(ANY, new Machine("B", 512))).isEqualTo(Comparability.EVERYTHING);
        Guard guard = new Guard((entry, forks) -> of(80, 100, 0), Comparability.RATIOS, line -> {});
        GuardReport report =
                guard.check(
                        new GuardBaseline(
                                ANY, List.of(planted("good", 200), beside("beside f32"), scalarTier(), vectorTier())));
        assertThat(report.verdicts().stream().map(GuardVerdict::problem))
                .containsExactly(
                        "",
                        "slower: referencePercent is 80.0, recorded 120.0, least 96.0",
                        "",
                        "only 1.00 times the speed of scalar tier, at least 6.00");
    }

    @Test
    void takesTheMedianOfForksOfAllRounds() {
        Measurement joined = of(70, 100, 0).and(of(90, 120, 2)).and(of(80, 110, 0));
        assertThat(joined.share()).isEqualTo(80);
        assertThat(joined.rate()).isEqualTo(110);
        assertThat(joined.bytesPerOperation()).isZero();
        assertThat(joined.spread()).isEqualTo(90.0 / 70);
    }

    @Test
    void recordsSharesIntoTheReviewedFile() throws IOException {
        Path file = folder.resolve("baseline.json");
        Files.writeString(
                file,
                """
                {"entries": [{"name": "a", "benchmark": "b.C.d", "metric": "fmaPercent", "share": 50, "tolerance": 0.9},
                             {"name": "b", "benchmark": "b.C.e", "metric": "fmaPercent", "share": 60}]}
                """);
        Machine first = new Machine("AMD \"X\"", 256);
        GuardBaseline.record(file, Map.of("a", of(81.26, 100, 0)), first, Map.of("commit", "c1"));
        GuardBaseline read = GuardBaseline.read(file, first);
        assertThat(read.machine()).isEqualTo(first);
        assertThat(read.entries().get(0).share()).isEqualTo(81.3);
        assertThat(read.entries().get(0).tolerance()).isEqualTo(0.9);
        assertThat(read.entries().get(1).share()).isEqualTo(60);
        assertThat(Files.readString(file)).contains("\"recorded\": {\"commit\":\"c1\"}");
        assertThat(read.only(Pattern.compile("^b")).entries()).containsExactly(read.entries().get(1));
    }

    @Test
    void keepsSharesOfEachMachineAndLeastRatiosOfAll() throws IOException {
        Path file = folder.resolve("baseline.json");
        Files.writeString(
                file,
                """
                {"entries": [{"name": "a", "benchmark": "b.C.d", "metric": "fmaPercent"},
                             {"name": "b", "benchmark": "b.C.d", "metric": "fmaPercent", "relativeTo": "a"}]}
                """);
        Machine first = new Machine("A", 512);
        Machine second = new Machine("B", 512);
        assertThat(GuardBaseline.read(file, first).entries().getFirst().share()).isZero();
        GuardBaseline.record(file, Map.of("a", of(50, 10, 0), "b", of(80, 60, 0)), first, Map.of());
        GuardBaseline.record(file, Map.of("a", of(60, 10, 0), "b", of(70, 50, 0)), second, Map.of());
        GuardBaseline.record(file, Map.of("a", of(55, 10, 0), "b", of(75, 90, 0)), first, Map.of());
        GuardBaseline.record(file, Map.of("b", of(77, 90, 0)), first, Map.of());
        GuardBaseline onFirst = GuardBaseline.read(file, first);
        GuardBaseline onSecond = GuardBaseline.read(file, second);
        assertThat(onFirst.entries().stream().map(GuardEntry::share)).containsExactly(55.0, 77.0);
        assertThat(onSecond.entries().stream().map(GuardEntry::share)).containsExactly(60.0, 70.0);
        assertThat(onSecond.machine()).isEqualTo(second);
        assertThat(onFirst.entries().getLast().minRatio()).isEqualTo(3.5);
        // One that is not in the file is compared with the first of its vector width, as far as it can be.
        Machine narrow = new Machine("D", 256);
        GuardBaseline.record(file, Map.of("a", of(55, 10, 0)), narrow, Map.of());
        GuardBaseline.record(file, Map.of("a", of(55, 10, 0)), first, Map.of());
        GuardBaseline.record(file, Map.of("a", of(55, 10, 0)), second, Map.of());
        assertThat(Files.readString(file).indexOf("\"D\"")).isLessThan(Files.readString(file).indexOf("\"A\""));
        Machine third = new Machine("C", 512);
        assertThat(Comparability.of(GuardBaseline.read(file, third).machine(), third)).isEqualTo(Comparability.RATIOS);
    }

    @Test
    void keepsAHistoryAndDrawsIt() throws IOException {
        GuardHistory history = new GuardHistory(folder.resolve("trend").resolve("history.jsonl"));
        for (int run = 0; run < 3; run++) {
            double share = 70 + run;
            GuardReport report =
                    new Guard((entry, forks) -> of(share, 100, 0), Comparability.EVERYTHING, name -> {})
                            .check(new GuardBaseline(ANY, List.of(entry("gemm <f32>", 80, null, 0))));
            history.append(report.historyLine(Map.of("commit", "c" + run)));
        }
        assertThat(Files.readAllLines(history.file())).hasSize(3).first().asString().contains("\"gemm <f32>\":70.0");
        assertThat(history.plot()).contains("<polyline", "gemm &lt;f32>", "3 runs", ">c2<").endsWith("</svg>\n");
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
        GuardEntry entry = GuardBaseline.read(file, ANY).entries().getFirst();
        assertThat(entry.parameters()).isEqualTo(Map.of("threads", "1"));
        assertThat(entry.leastShare()).isEqualTo(81.5 * 0.8);
        Files.writeString(file, "{\"entries\": [{\"name\": \"a\"}]}");
        assertThatThrownBy(() -> GuardBaseline.read(file, ANY))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("baseline.json")
                .hasMessageContaining("\"benchmark\"");
        Files.writeString(file, "{\"entries\": [");
        assertThatThrownBy(() -> GuardBaseline.read(file, ANY)).isInstanceOf(FileFormatException.class);
    }

    private static Guard guardOf(Comparability comparability) {
        return new Guard(
                (entry, forks) -> entry.name().equals("scalar tier") ? of(20, 20, 0) : of(80, 85, 0),
                comparability,
                line -> {});
    }

    private static GuardEntry scalarTier() {
        return entry("scalar tier", 20, null, 0);
    }

    private static GuardEntry vectorTier() {
        return entry("vector tier", 80, "scalar tier", 6);
    }

    private static GuardEntry beside(String name) {
        return new GuardEntry(name, "b.C.d", Map.of(), List.of(), "referencePercent", 120, 0.8, 1, null, 0);
    }

    private static GuardEntry planted(String method, double share) {
        return new GuardEntry(
                method,
                PlantedBenchmarks.class.getName() + "." + method,
                Map.of("threads", "1"),
                List.of(),
                "readPercent",
                share,
                0.5,
                1,
                null,
                0);
    }

    private static GuardEntry entry(String name, double share, @Nullable String relativeTo, double minRatio) {
        return new GuardEntry(name, "b.C.d", Map.of(), List.of(), "fmaPercent", share, 0.8, 1, relativeTo, minRatio);
    }

    private static Measurement of(double share, double rate, double bytes) {
        return new Measurement(List.of(share), List.of(rate), List.of(bytes));
    }
}
