package io.vectune.jmh.guard;

import io.vectune.jmh.BestOperation;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.regex.Pattern;
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
    private static final int ITERATIONS = 6;

    @Override
    public Measurement measure(GuardEntry entry, int forks) {
        List<String> jvmArgs =
                new ArrayList<>(
                        List.of(
                                "--add-modules",
                                "jdk.incubator.vector",
                                "--sun-misc-unsafe-memory-access=allow",
                                "-Xmx4g",
                                "-Xshare:auto"));
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
                        .addProfiler(BestOperation.class)
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
            // The record of a fork grows: its last iteration knows the best of all.
            IterationResult last = List.copyOf(fork.getIterationResults()).getLast();
            shares.add(secondary(entry, last, entry.metric()));
            rates.add(secondary(entry, last, "rate"));
            bytes.add(secondary(entry, last, "bytes"));
        }
        return new Measurement(shares, rates, bytes);
    }

    private static double secondary(GuardEntry entry, IterationResult iteration, String name) {
        Result<?> result = iteration.getSecondaryResults().get(BestOperation.PREFIX + name);
        if (result != null) {
            return result.getScore();
        }
        throw new IllegalStateException(
                entry.name()
                        + ": the benchmark reports no metric "
                        + name
                        + ", only "
                        + iteration.getSecondaryResults().keySet());
    }
}
