package io.vectune.jmh;

import io.vectune.runtime.nn.AdamW;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.nn.RmsNorm;
import io.vectune.runtime.nn.RotaryScaling;
import io.vectune.runtime.nn.RotaryTable;
import io.vectune.runtime.nn.Softmax;
import io.vectune.runtime.nn.SwiGlu;
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

/// The operations that pass once over activations: bound by memory, so their measure is bytes a second.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class RowOperationsBenchmark {
    private static final AdamW ADAM_W = AdamW.withDefaults(0);

    private static final float EPS = 1e-5f;

    /// Activations (tokens, features); 4 x 256 tokens of SmolLM2-135M and a size beyond the caches.
    @State(Scope.Benchmark)
    public static class Rows extends KernelState {
        @Param({"1024x1536", "4096x4096"})
        public String size = "";

        private int tokens;
        private int features;
        private Matrix x;
        private Matrix y;
        private Matrix z;
        private Matrix gradX;
        private Matrix gradY;
        private Matrix secondMoment;
        private Matrix weight;
        private Matrix inverseRms;
        private RotaryTable rotary;
        private int[] positions;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Rows() {}

        @Override
        protected void prepare() {
            String[] sizes = size.split("x", -1);
            tokens = Integer.parseInt(sizes[0]);
            features = Integer.parseInt(sizes[1]);
            x = random(tokens, features, 1);
            y = random(tokens, features, 2);
            z = random(tokens, features, 3);
            gradX = Matrix.allocate(arena, tokens, features);
            gradY = Matrix.allocate(arena, tokens, features);
            secondMoment = Matrix.allocate(arena, tokens, features);
            weight = random(1, features, 4);
            inverseRms = Matrix.allocate(arena, tokens, 1);
            rotary = new RotaryTable(10_000, 64, 256, new RotaryScaling.None());
            positions = new int[tokens];
            for (int token = 0; token < tokens; token++) {
                positions[token] = token % 256;
            }
            checkNorm();
            checkGate();
        }

        private void checkNorm() {
            RmsNorm.forward(compute, x, weight, EPS, gradX, inverseRms);
            int row = tokens - 1;
            double sum = 0;
            for (int i = 0; i < features; i++) {
                sum += (double) x.get(row, i) * x.get(row, i);
            }
            double inverse = 1 / Math.sqrt(sum / features + EPS);
            for (int i = 0; i < features; i += 97) {
                requireClose("norm", weight.get(0, i) * x.get(row, i) * inverse, gradX.get(row, i), 1);
            }
        }

        private void checkGate() {
            SwiGlu.forward(compute, x, y, gradX);
            int row = tokens - 1;
            for (int i = 0; i < features; i += 97) {
                double gate = x.get(row, i);
                requireClose("gate", gate / (1 + Math.exp(-gate)) * y.get(row, i), gradX.get(row, i), 1);
            }
        }

        private double bytes(int passes) {
            return 4.0 * passes * tokens * features;
        }
    }

    @Benchmark
    public void rmsNormForward(Rows rows, Rates rates) {
        RmsNorm.forward(rows.compute, rows.x, rows.weight, EPS, rows.gradX, rows.inverseRms);
        rates.add(rows, 0, rows.bytes(2));
    }

    @Benchmark
    public void rmsNormBackward(Rows rows, Rates rates) {
        RmsNorm.backward(rows.compute, rows.x, rows.weight, rows.inverseRms, rows.z, rows.gradX, false, null);
        rates.add(rows, 0, rows.bytes(3));
    }

    @Benchmark
    public void swiGluForward(Rows rows, Rates rates) {
        SwiGlu.forward(rows.compute, rows.x, rows.y, rows.gradX);
        rates.add(rows, 0, rows.bytes(3));
    }

    @Benchmark
    public void swiGluBackward(Rows rows, Rates rates) {
        SwiGlu.backward(rows.compute, rows.x, rows.y, rows.z, rows.gradX, rows.gradY);
        rates.add(rows, 0, rows.bytes(5));
    }

    @Benchmark
    public void rotate(Rows rows, Rates rates) {
        rows.rotary.apply(rows.compute, rows.gradX, rows.positions, false);
        rates.add(rows, 0, rows.bytes(2));
    }

    @Benchmark
    public void add(Rows rows, Rates rates) {
        Elementwise.add(rows.compute, rows.x, rows.gradX);
        rates.add(rows, 0, rows.bytes(3));
    }

    @Benchmark
    public void softmax(Rows rows, Rates rates) {
        Softmax.apply(rows.compute, rows.gradX);
        rates.add(rows, 0, rows.bytes(2));
    }

    @Benchmark
    public void adamW(Rows rows, Rates rates) {
        // Parameter, gradient, first and second moment are read, all but the gradient written.
        ADAM_W.step(rows.compute, 1000, 1e-9, rows.gradX, rows.z, rows.gradY, rows.secondMoment);
        rates.add(rows, 0, rows.bytes(7));
    }
}
