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

/// Products of one or few tokens with a weight larger than the caches: bound by memory.
///
/// `gflops` / 2 / tokens are 10^9 weights a second.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class MatVecBenchmark {
    /// One product: outFeatures x inFeatures.
    @State(Scope.Benchmark)
    public static class Product extends KernelState {
        @Param({"16384x8192", "4096x4096"})
        public String shape = "";

        @Param({
            "f32", "bf16", "f16", "hqq8", "int8", "q8_0", "q6_k", "q5_k", "q5_0", "hqq4", "nf4", "fp4", "q4_0", "q4_1",
            "q4_k", "hqq3", "hqq2", "hqq1"
        })
        public String format = "";

        @Param("1")
        public int tokens;

        private Weight weight;
        private Matrix x;
        private Matrix y;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Product() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            int outFeatures = Integer.parseInt(sizes[0]);
            int inFeatures = Integer.parseInt(sizes[1]);
            weight = RandomWeights.weight(compute, arena, format, outFeatures, inFeatures);
            x = random(tokens, inFeatures, 1);
            y = Matrix.allocate(arena, tokens, outFeatures);
            MatMul.multiply(compute, weight, x, y, false);
            float[] row = new float[inFeatures];
            for (int sample = 0; sample < 50; sample++) {
                int o = sample * 104_729 % outFeatures;
                int token = sample % tokens;
                weight.decode(o, o + 1, 0, inFeatures, row, 0, inFeatures);
                double sum = 0;
                for (int k = 0; k < inFeatures; k++) {
                    sum += (double) row[k] * x.get(token, k);
                }
                requireClose("y", sum, y.get(token, o), inFeatures);
            }
        }
    }

    @Benchmark
    public void multiply(Product product, Rates rates) {
        Weight weight = product.weight;
        MatMul.multiply(product.compute, weight, product.x, product.y, false);
        rates.add(
                product,
                2.0 * product.tokens * weight.outFeatures() * weight.inFeatures(),
                weight.storageBytes() + 4.0 * product.tokens * ((double) weight.outFeatures() + weight.inFeatures()));
    }
}
