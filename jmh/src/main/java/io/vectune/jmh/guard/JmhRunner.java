package io.vectune.jmh.guard;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.BenchmarkResult;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/// Runs benchmarks by JMH, short: enough for a ratio to limits that the same fork has measured.
///
/// @param warmupMillis of all warm-up iterations together
/// @param iterationMillis of each of the measured iterations
public record JmhRunner(int warmupMillis, int iterationMillis) implements BenchmarkRunner {
    private static final int ITERATIONS = 3;

    /// Bytes that JMH itself allocates in one iteration, at most: its timer thread, results and the gc profiler.
    private static final double HARNESS_BYTES = 200_000;

    @Override
    public Measurement measure(GuardEntry entry, int forks) {
        List<String> jvmArgs = new ArrayList<>(List.of("--add-modules", "jdk.incubator.vector", "-Xmx4g"));
        jvmArgs.addAll(entry.jvmArgs());
        ChainedOptionsBuilder options =
                new OptionsBuilder()
                        .include("^" + Pattern.quote(entry.benchmark()) + "$")
                        .forks(forks)
                        .warmupIterations(1)
                        .warmupTime(TimeValue.milliseconds(warmupMillis))
                        .measurementIterations(ITERATIONS)
                        .measurementTime(TimeValue.milliseconds(iterationMillis))
                        .jvmArgsPrepend(jvmArgs.toArray(String[]::new))
                        .addProfiler(GCProfiler.class)
                        .shouldFailOnError(true)
                        .verbosity(VerboseMode.SILENT);
        entry.parameters().forEach((name, value) -> options.param(name, value));
        try {
            Collection<RunResult> results = new Runner(options.build()).run();
            if (results.size() != 1) {
                throw new IllegalStateException(
                        entry.name() + ": expected one benchmark with all parameters fixed, found " + results.size());
            }
            return measurement(entry, results.iterator().next());
        } catch (RunnerException failed) {
            throw new IllegalStateException(entry.name() + ": " + failed.getMessage(), failed);
        }
    }

    private static Measurement measurement(GuardEntry entry, RunResult result) {
        List<Double> shares = new ArrayList<>();
        List<Double> rates = new ArrayList<>();
        List<Double> bytes = new ArrayList<>();
        for (BenchmarkResult fork : result.getBenchmarkResults()) {
            IterationParams params = fork.getParams().getMeasurement();
            double seconds = params.getTime().convertTo(TimeUnit.MILLISECONDS) / 1000.0;
            double share = 0;
            double rate = 0;
            double allocated = Double.POSITIVE_INFINITY;
            for (IterationResult iteration : fork.getIterationResults()) {
                double iterationRate = iteration.getPrimaryResult().getScore();
                share = Math.max(share, secondary(entry, iteration, entry.metric()));
                rate = Math.max(rate, iterationRate);
                double harness = HARNESS_BYTES / Math.max(1, iterationRate * seconds);
                allocated =
                        Math.min(allocated, Math.max(0, secondary(entry, iteration, "gc.alloc.rate.norm") - harness));
            }
            shares.add(share);
            rates.add(rate);
            bytes.add(allocated);
        }
        return new Measurement(shares, rates, bytes);
    }

    @SuppressWarnings("rawtypes") // as the library declares them
    private static double secondary(GuardEntry entry, IterationResult iteration, String name) {
        for (var each : iteration.getSecondaryResults().entrySet()) {
            // The gc profiler's labels have a leading dot in some versions.
            if (each.getKey().endsWith(name)) {
                Result<?> result = each.getValue();
                return result.getScore();
            }
        }
        throw new IllegalStateException(
                entry.name()
                        + ": the benchmark reports no metric "
                        + name
                        + ", only "
                        + iteration.getSecondaryResults().keySet());
    }
}
