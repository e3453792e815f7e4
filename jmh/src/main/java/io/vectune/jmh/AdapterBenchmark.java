package io.vectune.jmh;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
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

/// One adapted layer in a training step: forward, backward with all gradients, and what a new parameter version costs.
/// Compare kinds with `lora`, and `lora` with `none`, the frozen layer alone.
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
public class AdapterBenchmark {
    /// A layer with an adapter of rank 16.
    @State(Scope.Benchmark)
    public static class Layer extends KernelState {
        @Param({"512x4096x4096", "1024x1536x576"})
        public String shape = "";

        @Param({
            "none",
            "lora",
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
            "gralora"
        })
        public String kind = "";

        @Param({"f32", "hqq4"})
        public String format = "";

        private Weight weight;
        private Matrix x;
        private Matrix y;
        private Matrix gradOutput;
        private Matrix gradInput;
        private Adapter adapter;
        private AdapterCall call;
        private final List<Matrix> gradients = new ArrayList<>();

        @SuppressWarnings("NullAway.Init") // set by prepare
        public Layer() {}

        @Override
        protected void prepare() {
            String[] sizes = shape.split("x", -1);
            int tokens = Integer.parseInt(sizes[0]);
            int outFeatures = Integer.parseInt(sizes[1]);
            int inFeatures = Integer.parseInt(sizes[2]);
            weight = Weights.random(compute, arena, format, outFeatures, inFeatures);
            x = random(tokens, inFeatures, 1);
            gradOutput = random(tokens, outFeatures, 2);
            y = Matrix.allocate(arena, tokens, outFeatures);
            gradInput = Matrix.allocate(arena, tokens, inFeatures);
            AdapterConfig config = AdapterConfig.of(kind.equals("none") ? "lora" : kind, options(kind));
            LayerSite site = new LayerSite("layer.q_proj", weight, null);
            adapter = config.recipe().create(site, arena, StoredShapes.NONE);
            config.recipe().initialize(adapter, site, new Initialization(compute, 1));
            adapter.refresh(compute, weight);
            for (AdapterParameter parameter : adapter.trainableParameters()) {
                gradients.add(Matrix.allocate(arena, parameter.values().rows(), parameter.values().columns()));
            }
            Matrix saved = Matrix.allocate(arena, 1, Math.max(1, Math.toIntExact(adapter.savedFloats(tokens))));
            call = new AdapterCall(compute, weight, null, x, saved, CallOptions.INFERENCE);
            adapter.forward(call, y);
            // A new adapter is the identity: one sampled output must be that of the frozen layer.
            float[] row = new float[inFeatures];
            weight.decode(1, 2, 0, inFeatures, row, 0, inFeatures);
            double expected = 0;
            for (int k = 0; k < inFeatures; k++) {
                expected += (double) row[k] * x.get(3, k);
            }
            requireClose("y", expected, y.get(3, 1), inFeatures);
        }

        private static Map<String, Object> options(String kind) {
            Map<String, Object> options = new HashMap<>();
            switch (kind) {
                case "ia3" -> {
                    options.put("target_modules", List.of("q_proj"));
                    options.put("feedforward_modules", List.of());
                }
                case "road" -> options.put("group_size", 64);
                case "oft" -> options.put("oft_block_size", 32);
                case "adalora" -> {
                    options.put("init_r", 16);
                    options.put("total_step", 100);
                }
                case "antipasto" -> options.put("r", 64);
                default -> options.put("r", 16);
            }
            return options;
        }
    }

    /// Forward and backward.
    @Benchmark
    public void forwardAndBackward(Layer layer) {
        if (layer.kind.equals("none")) {
            MatMul.multiply(layer.compute, layer.weight, layer.x, layer.y, false);
            MatMul.multiplyTransposed(layer.compute, layer.weight, layer.gradOutput, layer.gradInput, false);
            return;
        }
        layer.adapter.forward(layer.call, layer.y);
        layer.adapter.backward(layer.call, layer.gradOutput, layer.gradInput, layer.gradients);
    }

    /// What an optimizer step adds: everything that depends on the parameters alone.
    @Benchmark
    public void refresh(Layer layer) {
        layer.adapter.refresh(layer.compute, layer.weight);
    }
}
