package io.vectune.jmh;

import io.vectune.models.flux.FluxInputs;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.FluxPass;
import io.vectune.runtime.tensor.Matrix;
import java.util.Map;
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

/// One evaluation of a transformer of the widths of FLUX.1 with no block, one double or one single stream block. The
/// difference to no block is what a block takes; a full model has 19 and 38 of them.
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(1)
@Warmup(iterations = 1)
@Measurement(iterations = 3)
public class FluxBlockBenchmark {
    private static final int TEXT_TOKENS = 512;

    /// A transformer and its inputs.
    @State(Scope.Benchmark)
    public static class Transformer extends KernelState {
        @Param({"none", "double", "single"})
        public String block = "";

        /// Image tokens of a side: 32 for 512 pixels, 64 for 1024.
        @Param("32")
        public int side;

        @Param("nf4")
        public String format = "";

        private FluxPass pass;
        private FluxInputs inputs;
        private Matrix prediction;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Transformer() {}

        @Override
        protected void prepare() {
            int doubles = block.equals("double") ? 1 : 0;
            int singles = block.equals("single") ? 1 : 0;
            FluxModel model = FluxShape.random(compute, arena, format, doubles, singles);
            inputs = FluxShape.inputs(arena, side, TEXT_TOKENS);
            prediction = Matrix.allocate(arena, side * side, model.config().outChannels());
            pass = new FluxPass(model, Map.of(), compute);
        }
    }

    /// One prediction.
    @Benchmark
    public float predict(Transformer transformer) {
        transformer.pass.predict(transformer.inputs, transformer.prediction);
        float value = transformer.prediction.get(0, 0);
        if (!Float.isFinite(value)) {
            throw new IllegalStateException("prediction: expected finite values, found " + value);
        }
        return value;
    }
}
