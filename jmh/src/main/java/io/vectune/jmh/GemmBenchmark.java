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

/// Products of many tokens with a weight of any format, both ways.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class GemmBenchmark {
    /// One product: tokens x outFeatures x inFeatures.
    @State(Scope.Benchmark)
    public static class Product extends KernelState {
        @Param({"512x4096x4096", "1024x1024x1024", "1024x1536x576", "1024x576x1536", "128x1536x576", "32x1536x576"})
        public String shape = "";

        @Param({"f32", "bf16", "hqq4"})
        public String format = "";

        private int tokens;
        private Weight weight;
        private Matrix x;
        private Matrix y;
        private Matrix g;
        private Matrix gradInput;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Product() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            tokens = Integer.parseInt(sizes[0]);
            int outFeatures = Integer.parseInt(sizes[1]);
            int inFeatures = Integer.parseInt(sizes[2]);
            weight = RandomWeights.weight(compute, arena, format, outFeatures, inFeatures);
            x = random(tokens, inFeatures, 1);
            g = random(tokens, outFeatures, 2);
            y = Matrix.allocate(arena, tokens, outFeatures);
            gradInput = Matrix.allocate(arena, tokens, inFeatures);
            MatMul.multiply(compute, weight, x, y, false);
            MatMul.multiplyTransposed(compute, weight, g, gradInput, false);
            float[] row = new float[Math.max(inFeatures, outFeatures)];
            for (int sample = 0; sample < 20; sample++) {
                int token = sample * 7919 % tokens;
                int o = sample * 104_729 % outFeatures;
                int i = sample * 1_299_709 % inFeatures;
                weight.decode(o, o + 1, 0, inFeatures, row, 0, inFeatures);
                double forward = 0;
                for (int k = 0; k < inFeatures; k++) {
                    forward += (double) row[k] * x.get(token, k);
                }
                requireClose("y", forward, y.get(token, o), inFeatures);
                weight.decode(0, outFeatures, i, i + 1, row, 0, 1);
                double backward = 0;
                for (int k = 0; k < outFeatures; k++) {
                    backward += (double) row[k] * g.get(token, k);
                }
                requireClose("gradInput", backward, gradInput.get(token, i), outFeatures);
            }
        }

        private double operations() {
            return 2.0 * tokens * weight.outFeatures() * weight.inFeatures();
        }

        private double bytes() {
            return weight.storageBytes() + 4.0 * tokens * ((double) weight.outFeatures() + weight.inFeatures());
        }
    }

    /// y = x Wᵀ.
    @Benchmark
    public void multiply(Product product, Rates rates) {
        MatMul.multiply(product.compute, product.weight, product.x, product.y, false);
        rates.add(product, product.operations(), product.bytes());
    }

    /// gradInput = g W.
    @Benchmark
    public void multiplyTransposed(Product product, Rates rates) {
        MatMul.multiplyTransposed(product.compute, product.weight, product.g, product.gradInput, false);
        rates.add(product, product.operations(), product.bytes());
    }
}
