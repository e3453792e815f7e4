package io.vectune.jmh;

import io.vectune.models.bench.RandomWeights;
import io.vectune.quant.QuantizedWeight;
import io.vectune.runtime.weight.DecodedWeight;
import io.vectune.runtime.weight.ExpandedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// Widening the input layer of a Flux transformer for a Control LoRA: 3072 x 64 to 3072 x 128.
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class FluxExpansionBenchmark {
    private static final int OUT = 3072;
    private static final int IN = 64;
    private static final int WIDE = 2 * IN;

    /// The narrow layer.
    @State(Scope.Benchmark)
    public static class Input extends KernelState {
        @Param({"nf4", "nf4-nested", "fp4", "int8", "hqq4", "hqq4-nested", "hqq3"})
        public String format = "";

        private QuantizedWeight weight;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Input() {}

        @Override
        protected void prepare() {
            weight = (QuantizedWeight) RandomWeights.weight(compute, arena, format, OUT, IN);
            float[] view = new float[WIDE];
            float[] packed = new float[WIDE];
            Weight virtual = ExpandedWeight.of(weight, WIDE);
            Weight structural = weight.widened(WIDE, arena);
            for (int row = 0; row < OUT; row++) {
                virtual.decode(row, row + 1, 0, WIDE, view, 0, WIDE);
                structural.decode(row, row + 1, 0, WIDE, packed, 0, WIDE);
                for (int column = 0; column < WIDE; column++) {
                    if (view[column] != packed[column]) {
                        throw new IllegalStateException("the two forms differ at [" + row + ", " + column + "]");
                    }
                }
            }
        }
    }

    /// A view: the new inputs are skipped, nothing is copied.
    @Benchmark
    public Weight virtual(Input input) {
        return ExpandedWeight.of(input.weight, WIDE);
    }

    /// A packed tensor of its own, as a checkpoint holds it.
    @Benchmark
    public int structural(Input input) {
        try (Arena passing = Arena.ofConfined()) {
            return input.weight.widened(WIDE, passing).inFeatures();
        }
    }

    /// What others do: the decoded weight, dense and wider.
    @Benchmark
    public long decoded(Input input) {
        try (Arena passing = Arena.ofShared()) {
            return DecodedWeight.of(input.compute, ExpandedWeight.of(input.weight, WIDE), passing).byteSize();
        }
    }
}
