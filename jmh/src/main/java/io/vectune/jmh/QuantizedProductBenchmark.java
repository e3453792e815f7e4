package io.vectune.jmh;

import io.vectune.models.bench.RandomWeights;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
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

/// A product with a quantized weight and the same product with an f32 weight in turns, in one fork: what decoding costs
/// is `best.referencePercent`, the speed in percent of f32. JMH's own score counts both products as one operation.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class QuantizedProductBenchmark {
    /// One product: tokens x outFeatures x inFeatures.
    @State(Scope.Benchmark)
    public static class Pair extends KernelState {
        @Param({"512x4096x4096", "512x1536x576"})
        public String shape = "";

        @Param({"hqq4", "nf4", "q4_0", "q8_0", "bf16"})
        public String format = "";

        private double operations;
        private double bytes;
        private Weight quantized;
        private Weight dense;
        private Matrix x;
        private Matrix y;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Pair() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            int tokens = Integer.parseInt(sizes[0]);
            int outFeatures = Integer.parseInt(sizes[1]);
            int inFeatures = Integer.parseInt(sizes[2]);
            quantized = RandomWeights.weight(compute, arena, format, outFeatures, inFeatures);
            dense = RandomWeights.weight(compute, arena, "f32", outFeatures, inFeatures);
            x = random(tokens, inFeatures, 1);
            y = Matrix.allocate(arena, tokens, outFeatures);
            operations = 2.0 * tokens * outFeatures * inFeatures;
            bytes = quantized.storageBytes() + 4.0 * tokens * ((double) outFeatures + inFeatures);
            check(dense);
            check(quantized);
        }

        private void check(Weight weight) {
            MatMul.multiply(compute, weight, x, y, false);
            float[] row = new float[weight.inFeatures()];
            for (int sample = 0; sample < 20; sample++) {
                int token = sample * 7919 % x.rows();
                int o = sample * 104_729 % weight.outFeatures();
                weight.decode(o, o + 1, 0, row.length, row, 0, row.length);
                double sum = 0;
                for (int k = 0; k < row.length; k++) {
                    sum += (double) row[k] * x.get(token, k);
                }
                requireClose("y", sum, y.get(token, o), row.length);
            }
        }
    }

    @Benchmark
    public void multiplyAndReference(Pair pair, Rates rates) {
        MatMul.multiply(pair.compute, pair.quantized, pair.x, pair.y, false);
        rates.add(pair, pair.operations, pair.bytes);
        MatMul.multiply(pair.compute, pair.dense, pair.x, pair.y, false);
        rates.endReference();
    }
}
