package io.vectune.jmh;

import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
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

/// Products of two f32 matrices in the three orientations; with k or n of 16, the products of an adapter of that rank.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class DenseProductBenchmark {
    /// One product c (m, n) with sums over k.
    @State(Scope.Benchmark)
    public static class Product extends KernelState {
        @Param({"1024x1024x1024", "1024x16x576", "1024x576x16", "576x16x1024", "16x576x1024"})
        public String mnk = "";

        @Param({"nt", "nn", "tn"})
        public String orientation = "";

        private int m;
        private int n;
        private int k;
        private Matrix a;
        private Matrix b;
        private Matrix c;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Product() {}

        @Override
        protected void prepare() {
            String[] sizes = mnk.split("x", -1);
            m = Integer.parseInt(sizes[0]);
            n = Integer.parseInt(sizes[1]);
            k = Integer.parseInt(sizes[2]);
            boolean aTransposed = orientation.equals("tn");
            boolean bTransposed = orientation.equals("nt");
            a = aTransposed ? random(k, m, 1) : random(m, k, 1);
            b = bTransposed ? random(n, k, 2) : random(k, n, 2);
            c = Matrix.allocate(arena, m, n);
            run();
            for (int sample = 0; sample < 20; sample++) {
                int i = sample * 7919 % m;
                int j = sample * 104_729 % n;
                double sum = 0;
                for (int l = 0; l < k; l++) {
                    sum +=
                            (double) (aTransposed ? a.get(l, i) : a.get(i, l))
                                    * (bTransposed ? b.get(j, l) : b.get(l, j));
                }
                requireClose("c", sum, c.get(i, j), k);
            }
        }

        private void run() {
            switch (orientation) {
                case "nt" -> MatMul.nt(compute, 1f, a, b, c, false);
                case "nn" -> MatMul.nn(compute, 1f, a, b, c, false);
                default -> MatMul.tn(compute, 1f, a, b, c, false);
            }
        }
    }

    @Benchmark
    public void product(Product product, Rates rates) {
        product.run();
        double m = product.m;
        double n = product.n;
        double k = product.k;
        rates.add(product, 2 * m * n * k, 4 * (m * k + n * k + m * n));
    }
}
