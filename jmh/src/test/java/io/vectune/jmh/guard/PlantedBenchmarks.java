package io.vectune.jmh.guard;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.infra.Blackhole;

/// One piece of work, done well, done slowly, and done with a hidden allocation.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@State(Scope.Benchmark)
public class PlantedBenchmarks {
    private final float[] numbers = new float[4096];

    /// A metric on the scale of the guarded ones: operations a second in units of a hundredth of what `good` is sure
    /// of.
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.OPERATIONS)
    public static class Metric {
        public double readPercent;
    }

    @Benchmark
    public float good(Metric metric) {
        metric.readPercent += 1e-3;
        return sum();
    }

    @Benchmark
    public float slow(Metric metric) {
        metric.readPercent += 1e-3;
        float total = 0;
        for (int round = 0; round < 20; round++) {
            total += sum();
        }
        return total;
    }

    @Benchmark
    public float allocating(Metric metric, Blackhole blackhole) {
        metric.readPercent += 1e-3;
        blackhole.consume(new float[1024]);
        return sum();
    }

    private float sum() {
        float total = 0;
        for (float number : numbers) {
            total += number;
        }
        return total;
    }
}
