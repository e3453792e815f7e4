package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.random.SplitMix;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Every kind on every base: a stored format computes what the dense f32 weight computes that it stands for. QDoRA is
/// DoRA here: its row norms come from the decoded tiles, never from a dense copy.
class EveryBaseTest {
    private static final int TOKENS = 24;
    private static final int IN = 64;
    private static final int OUT = 48;

    private static final Map<String, Map<String, Object>> OPTIONS =
            Map.of(
                    "ia3", Map.of("target_modules", List.of("q_proj"), "feedforward_modules", List.of()),
                    "road", Map.of("group_size", 8),
                    "antipasto", Map.of("r", 16),
                    "oft", Map.of("oft_block_size", 8),
                    "adalora", Map.of("init_r", 4, "total_step", 10),
                    "delora", Map.of("r", 4, "delora_lambda", 2),
                    "gralora", Map.of("r", 4),
                    "miss", Map.of("r", 4));

    static Stream<Arguments> cases() {
        List<Arguments> cases = new ArrayList<>();
        for (AdapterKind kind : AdapterKinds.ALL) {
            if (EveryKindTest.hasOwnTests(kind)) {
                continue;
            }
            for (String base : List.of("bf16", "hqq", "nf4", "fp4", "int8")) {
                cases.add(Arguments.of(kind.name(), base));
            }
        }
        return cases.stream();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void equalsTheDenseWeightThatItStandsFor(String kind, String base) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            SplitMix random = new SplitMix(11);
            Tensor values = Tensor.allocate(arena, DType.F32, OUT, IN);
            random.fillNormal(values.asMatrix(), 0, 0.3);
            Weight stored = stored(base, values, compute, arena);
            Tensor decoded = Tensor.allocate(arena, DType.F32, OUT, IN);
            DenseCopy.of(stored, decoded.asMatrix());
            List<float[]> found = run(kind, stored, compute, arena);
            List<float[]> expected = run(kind, new DenseWeight(decoded), compute, arena);
            assertThat(found).hasSameSizeAs(expected);
            for (int index = 0; index < found.size(); index++) {
                close(kind + " on " + base + ", result " + index, found.get(index), expected.get(index));
            }
        }
    }

    static Map<String, Object> options(String kind) {
        return OPTIONS.getOrDefault(kind, Map.of("r", 4));
    }

    static Weight stored(String base, Tensor values, Compute compute, Arena arena) {
        if (base.equals("f32")) {
            return new DenseWeight(values);
        }
        if (!base.equals("bf16")) {
            return Quantizers.of(QuantizeOptions.of(base)).quantize(compute, "layer", values, arena);
        }
        Tensor half = Tensor.allocate(arena, DType.BF16, OUT, IN);
        for (long i = 0; i < values.elements(); i++) {
            half.segment().set(Tensor.SHORT, 2 * i, (short) (Float.floatToRawIntBits(values.getFloat(i)) >>> 16));
        }
        return new DenseWeight(half);
    }

    // y, gX, the parameter gradients and the merged weight after the same moves from the start.
    private static List<float[]> run(String kind, Weight weight, Compute compute, Arena arena) {
        LayerSite site = new LayerSite("model.layers.0.self_attn.q_proj", weight, null);
        AdapterConfig config = AdapterConfig.of(kind, options(kind));
        Adapter adapter = config.recipe().create(site, arena, StoredShapes.NONE);
        config.recipe().initialize(adapter, site, new Initialization(compute, 3));
        SplitMix random = new SplitMix(9);
        List<Matrix> gradients = new ArrayList<>();
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            Matrix value = parameter.values();
            for (int row = 0; row < value.rows(); row++) {
                for (int column = 0; column < value.columns(); column++) {
                    value.set(row, column, value.get(row, column) + 0.1f * (float) random.nextNormal());
                }
            }
            gradients.add(Matrix.allocate(arena, value.rows(), value.columns()));
        }
        adapter.refresh(compute, weight);
        Matrix x = Matrix.allocate(arena, TOKENS, IN);
        random.fillNormal(x, 0, 1);
        Matrix gradOutput = Matrix.allocate(arena, TOKENS, OUT);
        random.fillNormal(gradOutput, 0, 1);
        Matrix saved = Matrix.allocate(arena, 1, Math.max(1, (int) adapter.savedFloats(TOKENS)));
        AdapterCall call = new AdapterCall(compute, weight, null, x, saved, CallOptions.INFERENCE);
        Matrix y = Matrix.allocate(arena, TOKENS, OUT);
        adapter.forward(call, y);
        Matrix gradInput = Matrix.allocate(arena, TOKENS, IN);
        adapter.backward(call, gradOutput, gradInput, gradients);
        Matrix merged = Matrix.allocate(arena, OUT, IN);
        adapter.merge(compute, weight, merged);
        List<float[]> results = new ArrayList<>(List.of(y.toArray(), gradInput.toArray(), merged.toArray()));
        gradients.forEach(gradient -> results.add(gradient.toArray()));
        return results;
    }

    private static void close(String what, float[] found, float[] expected) {
        double scale = 0;
        double error = 0;
        for (int i = 0; i < expected.length; i++) {
            scale = Math.max(scale, Math.abs(expected[i]));
            double difference = Math.abs((double) found[i] - expected[i]);
            if (!(difference <= error)) {
                error = difference;
            }
        }
        if (!(error <= 3e-6 * scale)) {
            throw new AssertionError(what + ": relative error " + error / scale);
        }
    }
}
