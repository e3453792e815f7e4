package io.vectune.jmh;

import io.vectune.models.bench.RandomWeights;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// Decoding a whole weight to f32 in memory, as dequantizing to a file does: bound by the stores.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class DequantizeBenchmark {
    /// One weight: outFeatures x inFeatures.
    @State(Scope.Benchmark)
    public static class Quantized extends KernelState {
        private static final int ROWS_AT_ONCE = 16;

        @Param("4096x4096")
        public String shape = "";

        @Param({
            "hqq8",
            "int8",
            "q8_0",
            "q6_k",
            "q5_k",
            "q5_0",
            "q5_1",
            "hqq4",
            "nf4",
            "nf4-nested",
            "fp4",
            "q4_0",
            "q4_1",
            "q4_k",
            "hqq3",
            "q3_k",
            "hqq2",
            "q2_k",
            "hqq1"
        })
        public String format = "";

        private Weight weight;
        private Tensor target;
        private ThreadTeam.Task task;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Quantized() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            weight =
                    RandomWeights.weight(
                            compute, arena, format, Integer.parseInt(sizes[0]), Integer.parseInt(sizes[1]));
            int columns = weight.inFeatures();
            target = Tensor.allocate(arena, DType.F32, weight.outFeatures(), columns);
            task =
                    (from, to, worker) -> {
                        float[] row = compute.scratch(worker, 0, columns);
                        for (int o = from; o < to; o++) {
                            weight.decode(o, o + 1, 0, columns, row, 0, columns);
                            MemorySegment.copy(row, 0, target.segment(), Tensor.FLOAT, 4L * o * columns, columns);
                        }
                    };
            decode();
            check();
        }

        private void decode() {
            team.run(weight.outFeatures(), ROWS_AT_ONCE, task);
        }

        /// Column by column, which takes the kernels' scalar ends, against whole rows.
        private void check() {
            float[] one = new float[1];
            for (int sample = 0; sample < 500; sample++) {
                int o = sample * 7919 % weight.outFeatures();
                int i = sample * 104_729 % weight.inFeatures();
                weight.decode(o, o + 1, i, i + 1, one, 0, 1);
                float found = target.segment().get(Tensor.FLOAT, 4L * ((long) o * weight.inFeatures() + i));
                if (Float.floatToRawIntBits(found) != Float.floatToRawIntBits(one[0])) {
                    throw new IllegalStateException("W[" + o + ", " + i + "]: expected " + one[0] + ", found " + found);
                }
            }
        }
    }

    /// What is stored a second, and its share of the write bandwidth that is measured before each iteration.
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.OPERATIONS)
    public static class Stores {
        /// 10^9 bytes of f32; a quarter of it are 10^9 weights.
        public double gbytes;

        /// Percent of the write bandwidth.
        public double writePercent;

        private double bandwidth;

        /// Measures the bandwidth; the best so far counts.
        @Setup(Level.Iteration)
        public void begin(Quantized quantized) {
            bandwidth = Math.max(bandwidth, quantized.writeBandwidth());
        }
    }

    @Benchmark
    public void dequantize(Quantized quantized, Stores stores) {
        quantized.decode();
        stores.gbytes += 1e-9 * quantized.target.byteSize();
        stores.writePercent += 1e-7 * quantized.target.byteSize() / stores.bandwidth;
    }
}
