package io.vectune.jmh;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.profile.InternalProfiler;
import org.openjdk.jmh.results.AggregationPolicy;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.ScalarResult;
import org.openjdk.jmh.runner.IterationType;

/// A profiler that measures the machine's limits before and after each iteration and reports the best operation of the
/// fork as a share of them. For benchmarks with [Rates].
public final class BestOperation implements InternalProfiler {
    /// What the labels of its results begin with.
    public static final String PREFIX = "best.";

    private boolean warm;

    /// Called by JMH.
    public BestOperation() {}

    @Override
    public String getDescription() {
        return "Best operation of a fork beside the machine's limits, and the bytes that an operation allocates";
    }

    @Override
    public void beforeIteration(BenchmarkParams benchmark, IterationParams iteration) {
        ForkRecord record = ForkRecord.current();
        if (!warm && iteration.getType() == IterationType.MEASUREMENT) {
            warm = true;
            record.forgetOperations();
        }
        record.startIteration();
        record.probe();
    }

    @Override
    public Collection<? extends Result<?>> afterIteration(
            BenchmarkParams benchmark, IterationParams iteration, IterationResult result) {
        ForkRecord record = ForkRecord.current();
        record.probe();
        record.endIteration();
        List<Result<?>> found = new ArrayList<>();
        if (record.hasOperations()) {
            add(found, "fmaPercent", record.fmaPercent(), "%");
            add(found, "readPercent", record.readPercent(), "%");
            add(found, "rate", record.rate(), "ops/s");
            add(found, "bytes", record.bytesAnOperation(), "B/op");
            if (!Double.isNaN(record.referencePercent())) {
                add(found, "referencePercent", record.referencePercent(), "%");
            }
        }
        return found;
    }

    private static void add(List<Result<?>> results, String name, double value, String unit) {
        results.add(new ScalarResult(PREFIX + name, value, unit, AggregationPolicy.AVG));
    }
}
