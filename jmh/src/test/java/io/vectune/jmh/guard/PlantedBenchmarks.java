package io.vectune.jmh.guard;

import io.vectune.jmh.KernelState;
import io.vectune.jmh.Rates;
import io.vectune.runtime.tensor.Matrix;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.infra.Blackhole;

/// One kernel as it should be, as a scalar loop, and with a hidden allocation.
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
public class PlantedBenchmarks {
    /// y += x, in the L2 cache.
    @State(Scope.Benchmark)
    public static class Rows extends KernelState {
        private static final int TOKENS = 64;
        private static final int FEATURES = 1024;

        private final float[] xArray = new float[TOKENS * FEATURES];
        private final float[] yArray = new float[TOKENS * FEATURES];
        private Matrix x;
        private Matrix y;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Rows() {}

        @Override
        protected void prepare() {
            x = random(TOKENS, FEATURES, 1);
            y = Matrix.allocate(arena, TOKENS, FEATURES);
            for (int row = 0; row < TOKENS; row++) {
                for (int column = 0; column < FEATURES; column++) {
                    xArray[row * FEATURES + column] = x.get(row, column);
                }
            }
            addVectors();
            requireClose("y", x.get(3, 5), yArray[3 * FEATURES + 5], 1);
            addInScalars();
            requireClose("y", x.get(3, 5), y.get(3, 5), 1);
        }

        /// The compiler makes vectors of this.
        private void addVectors() {
            for (int i = 0; i < yArray.length; i++) {
                yArray[i] += xArray[i];
            }
        }

        /// And none of this.
        private void addInScalars() {
            for (int row = 0; row < TOKENS; row++) {
                for (int column = 0; column < FEATURES; column++) {
                    y.set(row, column, y.get(row, column) + x.get(row, column));
                }
            }
        }

        private double bytes() {
            return 3.0 * 4 * TOKENS * FEATURES;
        }
    }

    @Benchmark
    public void good(Rows rows, Rates rates) {
        rows.addVectors();
        rates.add(rows, 0, rows.bytes());
    }

    @Benchmark
    public void scalarLoop(Rows rows, Rates rates) {
        rows.addInScalars();
        rates.add(rows, 0, rows.bytes());
    }

    @Benchmark
    public void allocating(Rows rows, Rates rates, Blackhole blackhole) {
        rows.addVectors();
        blackhole.consume(new float[16]);
        rates.add(rows, 0, rows.bytes());
    }
}
