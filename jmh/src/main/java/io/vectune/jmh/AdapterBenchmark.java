package io.vectune.jmh;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.MixedAdapter;
import io.vectune.adapters.RowGroups;
import io.vectune.adapters.StoredShapes;
import io.vectune.models.bench.RandomWeights;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
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
import org.openjdk.jmh.infra.BenchmarkParams;

/// One adapted layer in a training step: forward, backward with all gradients, and what a new parameter version costs.
///
/// The adapter, LoRA and the frozen layer alone run in turns, so that their ratios hold whatever else the machine does.
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class AdapterBenchmark {
    /// An adapter of one layer, and what its calls need.
    private record Adapted(Adapter adapter, AdapterCall call, List<Matrix> gradients) {
        void run(Matrix y, Matrix gradOutput, Matrix gradInput) {
            adapter.forward(call, y);
            adapter.backward(call, gradOutput, gradInput, gradients);
        }
    }

    /// A layer with an adapter of rank 16, and the same layer with a LoRA.
    @State(Scope.Benchmark)
    public static class Layer extends KernelState {
        /// Tokens, outFeatures, inFeatures; the latter two are the MLP of SmolLM2-135M.
        @Param({"512x4096x4096", "1024x1536x576", "1024x576x1536"})
        public String shape = "";

        @Param({
            "dora",
            "pissa",
            "delora",
            "hra",
            "ia3",
            "road",
            "antipasto",
            "oft",
            "miss",
            "vera",
            "adalora",
            "gralora",
            "loha",
            "lokr",
            "mixed8"
        })
        public String kind = "";

        @Param({"f32", "hqq4", "nf4"})
        public String format = "";

        private Weight weight;
        private Matrix x;
        private Matrix y;
        private Matrix gradOutput;
        private Matrix gradInput;
        private Adapted lora;
        private Adapted adapted;

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Layer() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            int tokens = Integer.parseInt(sizes[0]);
            int outFeatures = Integer.parseInt(sizes[1]);
            int inFeatures = Integer.parseInt(sizes[2]);
            weight = RandomWeights.weight(compute, arena, format, outFeatures, inFeatures);
            x = random(tokens, inFeatures, 1);
            gradOutput = random(tokens, outFeatures, 2);
            y = Matrix.allocate(arena, tokens, outFeatures);
            gradInput = Matrix.allocate(arena, tokens, inFeatures);
            lora = adapted(adapter("lora", 1), CallOptions.INFERENCE);
            adapted = kind.equals("mixed8") ? mixed() : adapted(adapter(kind, 1), CallOptions.INFERENCE);
            check(lora);
            check(adapted);
        }

        private Adapter adapter(String name, long seed) {
            AdapterConfig config = AdapterOptions.config(name, List.of("q_proj"));
            LayerSite site = new LayerSite("layer.q_proj", weight, null);
            Adapter adapter = config.recipe().create(site, arena, StoredShapes.NONE);
            config.recipe().initialize(adapter, site, new Initialization(compute, seed));
            adapter.refresh(compute, weight);
            return adapter;
        }

        /// Eight LoRAs, each on an eighth of the rows.
        private Adapted mixed() {
            List<Optional<Adapter>> members = new ArrayList<>();
            List<RowGroups.Run> runs = new ArrayList<>();
            int rows = x.rows() / 8;
            for (int member = 0; member < 8; member++) {
                members.add(Optional.of(adapter("lora", member)));
                runs.add(new RowGroups.Run(member * rows, (member + 1) * rows, member));
            }
            Adapter adapter = new MixedAdapter(new LayerSite("layer.q_proj", weight, null), members);
            return adapted(adapter, CallOptions.INFERENCE.withGroups(new RowGroups(runs)));
        }

        private Adapted adapted(Adapter adapter, CallOptions options) {
            List<Matrix> gradients = new ArrayList<>();
            for (AdapterParameter parameter : adapter.trainableParameters()) {
                gradients.add(Matrix.allocate(arena, parameter.values().rows(), parameter.values().columns()));
            }
            Matrix saved = Matrix.allocate(arena, 1, Math.max(1, Math.toIntExact(adapter.savedFloats(x.rows()))));
            return new Adapted(adapter, new AdapterCall(compute, weight, null, x, saved, options), gradients);
        }

        /// A new adapter is the identity: a sampled output must be that of the frozen layer, and a sampled gradient of
        /// the input as well.
        private void check(Adapted run) {
            run.run(y, gradOutput, gradInput);
            int inFeatures = x.columns();
            float[] row = new float[inFeatures];
            weight.decode(1, 2, 0, inFeatures, row, 0, inFeatures);
            double output = 0;
            for (int k = 0; k < inFeatures; k++) {
                output += (double) row[k] * x.get(3, k);
            }
            requireClose("y", output, y.get(3, 1), inFeatures);
            float[] column = new float[gradOutput.columns()];
            weight.decode(0, column.length, 2, 3, column, 0, 1);
            double gradient = 0;
            for (int k = 0; k < column.length; k++) {
                gradient += (double) column[k] * gradOutput.get(5, k);
            }
            requireClose("gradInput", gradient, gradInput.get(5, 2), 4 * column.length);
        }

        private void frozen() {
            MatMul.multiply(compute, weight, x, y, false);
            MatMul.multiplyTransposed(compute, weight, gradOutput, gradInput, false);
        }
    }

    /// What the three take, and their ratios. JMH adds events up over the iterations of all forks: each iteration gives
    /// its share of the mean.
    @State(Scope.Thread)
    @AuxCounters(AuxCounters.Type.EVENTS)
    public static class Turns {
        private long frozen;
        private long lora;
        private long kind;
        private int iterations;

        /// A new iteration begins.
        @Setup(Level.Iteration)
        public void begin(BenchmarkParams params) {
            iterations = params.getMeasurement().getCount() * Math.max(1, params.getForks());
            frozen = 0;
            lora = 0;
            kind = 0;
        }

        /// The adapter's time in percent of LoRA's.
        public double percentOfLora() {
            return 100.0 * kind / lora / iterations;
        }

        /// LoRA's time in percent of the frozen layer's.
        public double loraPercentOfFrozen() {
            return 100.0 * lora / frozen / iterations;
        }
    }

    /// Forward and backward of the frozen layer, with LoRA, and with the adapter: the score is their sum.
    @Benchmark
    public void forwardAndBackward(Layer layer, Turns turns) {
        long start = System.nanoTime();
        layer.frozen();
        long first = System.nanoTime();
        layer.lora.run(layer.y, layer.gradOutput, layer.gradInput);
        long second = System.nanoTime();
        layer.adapted.run(layer.y, layer.gradOutput, layer.gradInput);
        long end = System.nanoTime();
        turns.frozen += first - start;
        turns.lora += second - first;
        turns.kind += end - second;
    }

    /// What an optimizer step adds: everything that depends on the parameters alone.
    @Benchmark
    public void refresh(Layer layer) {
        layer.adapted.adapter.refresh(layer.compute, layer.weight);
    }
}
