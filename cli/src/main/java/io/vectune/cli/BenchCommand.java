package io.vectune.cli;

import io.vectune.models.bench.Limit;
import io.vectune.models.bench.SpeedBaseline;
import io.vectune.models.bench.SpeedCase;
import io.vectune.models.bench.SpeedCheck;
import io.vectune.models.bench.SpeedMeter;
import io.vectune.models.bench.SpeedResult;
import io.vectune.models.bench.SpeedSuite;
import io.vectune.models.bench.SpeedVerdict;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.compute.MachineLimits;
import io.vectune.runtime.compute.ThreadTeam;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune bench`: how fast this machine runs the hot paths, and whether that is as fast as recorded.
@Command(
        name = "bench",
        description = {
            "Measure matrix products, a training step, a prompt and a token beside the machine's own limits.",
            "With --check, compare with a recorded baseline: exit code 1 if something is slower."
        })
final class BenchCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    /// Where the baseline comes from or goes to.
    static final class Baseline {
        @Option(
                names = "--check",
                required = true,
                paramLabel = "FILE",
                description = "Compare with this baseline, and measure only what it names.")
        private @Nullable Path check;

        @Option(
                names = "--record",
                required = true,
                paramLabel = "FILE",
                description = "Write what was measured as a baseline.")
        private @Nullable Path record;
    }

    @ArgGroup(exclusive = true)
    private @Nullable Baseline baseline;

    @Option(
            names = "--only",
            paramLabel = "REGEX",
            defaultValue = "",
            description = "Measure only what the expression finds in the name: gemm, matvec, 'f32', ...")
    private String only = "";

    @Option(
            names = "--tolerance",
            paramLabel = "X",
            defaultValue = "0.75",
            description = "With --record: the fraction of a share that still passes (default: ${DEFAULT-VALUE}).")
    private double tolerance;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ThreadsOption threads;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        if (!(tolerance > 0 && tolerance <= 1)) {
            throw new UsageException("--tolerance: expected a fraction above 0, at most 1, found " + tolerance);
        }
        @Nullable Path check = baseline == null ? null : baseline.check;
        @Nullable Path record = baseline == null ? null : baseline.record;
        List<SpeedCase> cases = chosen();
        int size = threads.size();
        Output output = Output.of(spec);
        KernelTier.Choice tier = KernelTier.choice();
        if (tier.tier() == KernelTier.SCALAR && !tier.fallback()) {
            output.note("warning: the slow scalar tier is in use: %s", tier.reason());
        }
        @Nullable SpeedBaseline recorded = check == null ? null : comparable(check, size, tier.vectorBits(), cases);
        try (ThreadTeam team = ThreadTeam.of(size)) {
            Map<String, Object> report = machine(team, tier);
            try (SpeedMeter meter = new SpeedMeter(team)) {
                return recorded == null
                        ? measure(output, meter, cases, report, record)
                        : check(output, meter, cases, report, recorded);
            }
        }
    }

    private List<SpeedCase> chosen() {
        Pattern pattern;
        try {
            pattern = Pattern.compile(only);
        } catch (PatternSyntaxException unfit) {
            throw new UsageException("--only: expected a regular expression, found " + unfit.getMessage());
        }
        List<SpeedCase> cases = SpeedSuite.all().stream().filter(each -> pattern.matcher(each.name()).find()).toList();
        if (cases.isEmpty()) {
            throw new UsageException(
                    "--only: expected a part of one of "
                            + SpeedSuite.all().stream().map(SpeedCase::name).toList()
                            + ", found \""
                            + only
                            + "\"");
        }
        return cases;
    }

    /// The entries of a baseline that are to be measured; refuses one whose shares mean something else here.
    private static SpeedBaseline comparable(Path file, int threads, int vectorBits, List<SpeedCase> cases) {
        SpeedBaseline all = SpeedBaseline.read(file);
        if (all.threads() != threads || all.vectorBits() != vectorBits) {
            throw new VectuneException(
                    String.format(
                            Locale.ROOT,
                            "%s: recorded with %d threads and vectors of %d bits, here are %d and %d; shares cannot be"
                                    + " compared: use --threads, or record a baseline on this kind of machine with --record",
                            file,
                            all.threads(),
                            all.vectorBits(),
                            threads,
                            vectorBits));
        }
        List<String> known = SpeedSuite.all().stream().map(SpeedCase::name).toList();
        List<String> wanted = cases.stream().map(SpeedCase::name).toList();
        List<SpeedBaseline.Entry> entries = new ArrayList<>();
        for (SpeedBaseline.Entry entry : all.entries()) {
            if (!known.contains(entry.name())) {
                throw new FileFormatException(
                        file + ": \"" + entry.name() + "\": expected the name of a benchmark, one of " + known);
            }
            if (wanted.contains(entry.name())) {
                entries.add(entry);
            }
        }
        if (entries.isEmpty()) {
            throw new UsageException("--only: nothing that " + file + " names is left; found " + wanted);
        }
        return new SpeedBaseline(threads, vectorBits, entries);
    }

    private Map<String, Object> machine(ThreadTeam team, KernelTier.Choice tier) {
        MachineLimits limits = MachineLimits.measure(team);
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("version", Version.number());
        report.put("jdk", System.getProperty("java.vendor") + " " + Runtime.version());
        report.put("threads", team.size());
        report.put("vector_bits", tier.vectorBits());
        report.put("fma_peak_gflops_one_thread", round(limits.fmaOneThread()));
        report.put("fma_peak_gflops", round(limits.fmaAllThreads()));
        report.put("memory_read_gb_per_s_one_thread", round(limits.readOneThread()));
        report.put("memory_read_gb_per_s", round(limits.readAllThreads()));
        report.put("memory_write_gb_per_s", round(limits.writeAllThreads()));
        if (!json.isOn()) {
            Output output = Output.of(spec);
            report.forEach((key, value) -> output.result("%-34s %s", key.replace('_', ' '), value));
            output.result("");
        }
        return report;
    }

    private Integer measure(
            Output output, SpeedMeter meter, List<SpeedCase> cases, Map<String, Object> report, @Nullable Path record) {
        List<SpeedResult> results = new ArrayList<>();
        if (!json.isOn()) {
            output.result("%-28s %12s %16s %20s %8s", "benchmark", "a run", "of its limit", "gets through", "share");
        }
        try (Progress progress = Progress.start(output.err(), "bench", cases.size(), "benchmarks")) {
            for (SpeedCase one : cases) {
                SpeedResult result = meter.measure(one);
                results.add(result);
                progress.at(results.size(), "");
                if (!json.isOn()) {
                    output.result(
                            "%-28s %9.2f ms %9.1f %s %20s %6.1f %%",
                            result.name(),
                            1e3 * result.secondsARun(),
                            result.share() / 100 * result.limitRate(),
                            result.limit() == Limit.FMA ? "GFLOP/s" : "GB/s   ",
                            rate(result),
                            result.share());
                }
            }
        }
        if (record != null) {
            Map<String, String> about = new LinkedHashMap<>();
            about.put("date", Instant.now().toString());
            report.forEach((key, value) -> about.put(key, value.toString()));
            SpeedBaseline.of(meter.threads(), KernelTier.choice().vectorBits(), results, tolerance)
                    .write(record, about);
            output.note("recorded in %s", record);
        }
        if (json.isOn()) {
            report.put("results", results.stream().map(BenchCommand::object).toList());
            JsonOutput.print(output.out(), report);
        }
        return 0;
    }

    private Integer check(
            Output output,
            SpeedMeter meter,
            List<SpeedCase> cases,
            Map<String, Object> report,
            SpeedBaseline recorded) {
        List<SpeedVerdict> verdicts =
                new SpeedCheck(meter::measure, name -> output.note("bench: %s", name)).check(recorded, cases);
        boolean passed = verdicts.stream().allMatch(SpeedVerdict::passed);
        if (json.isOn()) {
            List<Map<String, Object>> results = new ArrayList<>();
            for (SpeedVerdict verdict : verdicts) {
                Map<String, Object> object = object(verdict.result());
                object.put("recorded", verdict.recorded().share());
                object.put("least", round(verdict.recorded().leastShare()));
                object.put("repeats", verdict.repeats());
                object.put("verdict", verdict.passed() ? "ok" : "slower");
                results.add(object);
            }
            report.put("results", results);
            report.put("passed", passed);
            JsonOutput.print(output.out(), report);
        } else {
            String line = "%-28s %16s %10s %8s  %s";
            output.result(line, "benchmark", "share of limit", "recorded", "least", "verdict");
            for (SpeedVerdict verdict : verdicts) {
                output.result(
                        line,
                        verdict.result().name(),
                        percent(verdict.result().share()),
                        percent(verdict.recorded().share()),
                        percent(verdict.recorded().leastShare()),
                        verdict.passed() ? "ok" : "slower, measured " + (1 + verdict.repeats()) + " times");
            }
        }
        if (!passed) {
            output.note(
                    "vectune: %d of %d benchmarks are slower than recorded",
                    verdicts.stream().filter(verdict -> !verdict.passed()).count(), verdicts.size());
        }
        return passed ? 0 : Vectune.FAILURE;
    }

    private static Map<String, Object> object(SpeedResult result) {
        Map<String, Object> object = new LinkedHashMap<>();
        object.put("name", result.name());
        object.put("seconds", result.secondsARun());
        object.put(result.unit() + "_per_s", result.unitsASecond());
        object.put("limit", result.limit().key());
        object.put("limit_rate", round(result.limitRate()));
        object.put("share_percent", round(result.share()));
        object.put("spread", Math.round(100 * result.spread()) / 100.0);
        return object;
    }

    private static String rate(SpeedResult result) {
        double rate = result.unitsASecond();
        return rate >= 1e9
                ? String.format(Locale.ROOT, "%.1f G %s/s", 1e-9 * rate, result.unit())
                : String.format(Locale.ROOT, "%,.0f %s/s", rate, result.unit());
    }

    private static String percent(double value) {
        return String.format(Locale.ROOT, "%.1f %%", value);
    }

    private static double round(double value) {
        return Math.rint(10 * value) / 10;
    }
}
