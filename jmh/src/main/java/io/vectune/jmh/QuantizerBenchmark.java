package io.vectune.jmh;

import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
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

/// Quantizing one f32 weight. HQQ stops early, as the library does, at 20 steps at most. Errors of one or two bits of
/// larger numbers cost a power each.
///
/// `gbytes` / 4 are 10^9 weights a second.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class QuantizerBenchmark {
    /// One weight: outFeatures x inFeatures, uniform in [-0.05, 0.05) as those of models.
    @State(Scope.Benchmark)
    public static class Dense extends KernelState {
        @Param("4096x4096")
        public String shape = "";

        @Param({"hqq8", "hqq4", "hqq3", "hqq2", "hqq1", "nf4", "nf4-nested", "fp4", "int8"})
        public String method = "";

        private WeightQuantizer quantizer;
        private Tensor tensor;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Dense() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            int outFeatures = Integer.parseInt(sizes[0]);
            int inFeatures = Integer.parseInt(sizes[1]);
            tensor = Tensor.allocate(arena, DType.F32, outFeatures, inFeatures);
            SplittableRandom random = new SplittableRandom(5);
            for (long i = 0; i < tensor.elements(); i++) {
                tensor.segment().set(Tensor.FLOAT, 4 * i, (float) random.nextDouble(-0.05, 0.05));
            }
            quantizer = Quantizers.of(options());
            try (Arena passing = Arena.ofShared()) {
                check(quantizer.quantize(compute, "random", tensor, passing));
            }
        }

        private QuantizeOptions options() {
            if (method.startsWith("hqq")) {
                return QuantizeOptions.of("hqq").withBits(method.substring(3));
            }
            boolean nested = method.endsWith("-nested");
            QuantizeOptions options = QuantizeOptions.of(nested ? method.replace("-nested", "") : method);
            return nested ? options.withDoubleQuant(true) : options;
        }

        /// Compares some rows with the dense weight: the relative error of uniform numbers is half a step of even
        /// levels, and at most twice that for the uneven levels of a codebook.
        private void check(Weight weight) {
            int levels = method.startsWith("hqq") ? 1 << Integer.parseInt(method.substring(3)) : 16;
            double bound = method.equals("int8") ? 0.006 : Math.min(1, 2.2 / (levels - 1));
            float[] row = new float[weight.inFeatures()];
            double lost = 0;
            double size = 0;
            for (int sample = 0; sample < 50; sample++) {
                int o = sample * 7919 % weight.outFeatures();
                weight.decode(o, o + 1, 0, row.length, row, 0, row.length);
                for (int i = 0; i < row.length; i++) {
                    double dense = tensor.segment().get(Tensor.FLOAT, 4L * ((long) o * row.length + i));
                    lost += (row[i] - dense) * (row[i] - dense);
                    size += dense * dense;
                }
            }
            if (!(Math.sqrt(lost / size) <= bound)) {
                throw new IllegalStateException(
                        method + ": expected a relative error below " + bound + ", found " + Math.sqrt(lost / size));
            }
        }
    }

    @Benchmark
    public Weight quantize(Dense dense, Rates rates) {
        try (Arena passing = Arena.ofShared()) {
            Weight weight = dense.quantizer.quantize(dense.compute, "random", dense.tensor, passing);
            rates.add(dense, 0, (double) dense.tensor.byteSize());
            return weight;
        }
    }
}
