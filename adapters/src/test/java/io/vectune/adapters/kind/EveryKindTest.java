package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.ComposedAdapter;
import io.vectune.adapters.MixedAdapter;
import io.vectune.adapters.RowGroups;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// What every kind must do, whatever its formula.
class EveryKindTest {
    /// A case: a kind with options that make its parts count on the small test layer.
    record Case(String kind, Map<String, Object> options) {
        @Override
        public String toString() {
            return kind + options;
        }
    }

    static Stream<Case> cases() {
        return Stream.of(
                new Case("lora", Map.of("r", 4)),
                new Case("lora", Map.of("r", 4, "use_rslora", true, "lora_bias", true)),
                new Case("dora", Map.of("r", 4)),
                new Case("pissa", Map.of("r", 4)),
                new Case("olora", Map.of("r", 4)),
                new Case("delora", Map.of("r", 4, "delora_lambda", 2)),
                new Case("delora", Map.of("r", 4, "delora_lambda", 2, "init_weights", "frozen_copy")),
                new Case("hra", Map.of("r", 4)),
                new Case("hra", Map.of("r", 3, "apply_GS", true, "init_weights", false)),
                new Case("ia3", Map.of("target_modules", List.of("q_proj"), "feedforward_modules", List.of())),
                new Case("ia3", Map.of("target_modules", List.of("q_proj"), "feedforward_modules", List.of("q_proj"))),
                new Case("road", Map.of("variant", "road_1", "group_size", 8)),
                new Case("road", Map.of("variant", "road_2", "group_size", 4)),
                new Case("road", Map.of("variant", "road_4", "group_size", 8)),
                new Case("antipasto", Map.of("r", 8, "block_size", 4)),
                new Case("antipasto", Map.of("r", 8, "block_size", 2, "rotate_basis", "U")),
                new Case("antipasto", Map.of("r", 4, "rotate_basis", "none")),
                new Case("oft", Map.of("oft_block_size", 4)),
                new Case("oft", Map.of("oft_block_size", 6, "use_cayley_neumann", false)),
                new Case("oft", Map.of("oft_block_size", 3, "block_share", true)),
                new Case("miss", Map.of("r", 4)),
                new Case("miss", Map.of("r", 5)),
                new Case("miss", Map.of("r", 4, "init_weights", "mini", "mini_r", 8)),
                new Case("miss", Map.of("r", 4, "init_weights", "bat")),
                new Case("vera", Map.of("r", 6)),
                new Case("adalora", Map.of("init_r", 5, "lora_alpha", 10, "total_step", 10)),
                new Case("loha", Map.of("r", 3)),
                new Case("loha", Map.of("r", 2)),
                new Case("lokr", Map.of("r", 2)),
                new Case("lokr", Map.of("r", 1, "decompose_both", true)),
                new Case("gralora", Map.of("r", 4, "gralora_k", 2)),
                new Case("gralora", Map.of("r", 4, "gralora_k", 2, "hybrid_r", 2)));
    }

    @Test
    void allRegisteredKindsAreTested() {
        assertThat(cases().map(Case::kind).distinct())
                .containsExactlyInAnyOrderElementsOf(
                        AdapterKinds.ALL.stream().filter(kind -> !hasOwnTests(kind)).map(AdapterKind::name).toList());
    }

    // Names for starts of LoRA that need data, where the function is LoRA's, and kinds that sit on no linear layer.
    static boolean hasOwnTests(AdapterKind kind) {
        return List.of("eva", "loftq", "ln_tuning", "trainable_tokens").contains(kind.name());
    }

    @ParameterizedTest
    @MethodSource("cases")
    void startsAsTheIdentity(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            boolean random = Boolean.FALSE.equals(each.options.get("init_weights"));
            double distance = bench.distanceFromBase(bench.create(each.kind, each.options));
            if (each.kind.equals("hra") && !random) {
                assertThat(distance).isLessThanOrEqualTo(5e-6);
            } else if (!random) {
                assertThat(distance).isZero();
            }
        }
    }

    // Directional derivatives of sum(y * gY), by central differences of the f32 forward summed in double. The step is
    // large enough for f32 and the third order small enough: 1e-3 of the derivative's size remains.
    @ParameterizedTest
    @MethodSource("cases")
    void gradientsAgreeWithDifferences(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create(each.kind, each.options);
            bench.perturb(adapter, 0.1);
            boolean detached = each.kind.equals("dora");
            checkDirections(bench, adapter, CallOptions.INFERENCE, detached);
        }
    }

    private static void checkDirections(AdapterBench bench, Adapter adapter, CallOptions options, boolean detached) {
        List<Matrix> gradients = new ArrayList<>();
        AdapterCall call = bench.call(adapter, options);
        Matrix gradInput = bench.matrix(AdapterBench.TOKENS, AdapterBench.IN);
        backward(bench, adapter, call, gradients, gradInput);
        for (int index = 0; index < gradients.size(); index++) {
            AdapterParameter parameter = adapter.trainableParameters().get(index);
            assertThat(gradients.get(index).toArray()).doesNotContain(Float.NaN);
            if (!detached) {
                double expected = difference(bench, adapter, options, parameter.values(), gradients.get(index), true);
                close(parameter.name(), dot(gradients.get(index), gradients.get(index)), expected);
            }
        }
        double expected = difference(bench, adapter, options, bench.x, gradInput, false);
        close("x", dot(gradInput, gradInput), expected);
    }

    private static void backward(
            AdapterBench bench, Adapter adapter, AdapterCall call, List<Matrix> gradients, Matrix gradInput) {
        adapter.forward(call, bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT));
        for (AdapterParameter parameter : adapter.trainableParameters()) {
            gradients.add(bench.matrix(parameter.values().rows(), parameter.values().columns()));
        }
        adapter.backward(call, bench.gradOutput, gradInput, gradients);
    }

    // The derivative of the loss along `direction`, which is the gradient itself.
    private static double difference(
            AdapterBench bench,
            Adapter adapter,
            CallOptions options,
            Matrix values,
            Matrix direction,
            boolean refresh) {
        float[] start = values.toArray();
        double length = Math.sqrt(dot(direction, direction));
        double step = length == 0 ? 0 : 4e-3 / length;
        double[] losses = new double[2];
        for (int side = 0; side < 2; side++) {
            double signed = side == 0 ? step : -step;
            shift(values, start, direction, signed);
            if (refresh) {
                adapter.refresh(bench.compute, bench.site.weight());
            }
            Matrix y = bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT);
            adapter.forward(bench.call(adapter, options), y);
            losses[side] = dot(y, bench.gradOutput);
        }
        shift(values, start, direction, 0);
        adapter.refresh(bench.compute, bench.site.weight());
        return step == 0 ? 0 : (losses[0] - losses[1]) / (2 * step);
    }

    private static void shift(Matrix values, float[] start, Matrix direction, double step) {
        for (int row = 0; row < values.rows(); row++) {
            for (int column = 0; column < values.columns(); column++) {
                double value = start[row * values.columns() + column] + step * direction.get(row, column);
                values.set(row, column, (float) value);
            }
        }
    }

    private static double dot(Matrix a, Matrix b) {
        double sum = 0;
        for (int row = 0; row < a.rows(); row++) {
            for (int column = 0; column < a.columns(); column++) {
                sum += (double) a.get(row, column) * b.get(row, column);
            }
        }
        return sum;
    }

    // The second term is the f32 noise of the loss, some 5e-6, over the distance of the two points.
    private static void close(String what, double found, double expected) {
        assertThat(Math.abs(found - expected))
                .as(what + ": found " + found + ", expected " + expected)
                .isLessThanOrEqualTo(2e-3 * Math.abs(expected) + 5e-6 / 8e-3 * Math.sqrt(found));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void theMergedLayerComputesTheSame(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            Adapter adapter = bench.create(each.kind, each.options);
            bench.perturb(adapter, 0.2);
            checkMerged(bench, adapter);
        }
    }

    private static void checkMerged(AdapterBench bench, Adapter adapter) {
        Matrix y = bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT);
        adapter.forward(bench.call(adapter, CallOptions.INFERENCE), y);
        Matrix merged = bench.matrix(AdapterBench.OUT, AdapterBench.IN);
        adapter.merge(bench.compute, bench.site.weight(), merged);
        Matrix bias = bench.matrix(1, AdapterBench.OUT);
        adapter.mergeBias(bench.site.bias(), bias);
        AdapterOracle.Layer layer =
                new AdapterOracle.Layer(
                        AdapterBench.TOKENS, AdapterBench.IN, AdapterBench.OUT, new double[0], new double[0]);
        double[] expected =
                layer.linear(AdapterBench.doubles(bench.x), AdapterBench.doubles(merged), AdapterBench.doubles(bias));
        AdapterBench.close("merged", AdapterBench.doubles(y), expected, 3e-6);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void threadsDoNotChangeABit(Case each) {
        List<float[]> results = new ArrayList<>();
        for (int threads : new int[] {1, 3}) {
            try (AdapterBench bench = new AdapterBench(true, threads)) {
                Adapter adapter = bench.create(each.kind, each.options);
                bench.perturb(adapter, 0.2);
                List<Matrix> gradients = new ArrayList<>();
                Matrix gradInput = bench.matrix(AdapterBench.TOKENS, AdapterBench.IN);
                backward(bench, adapter, bench.call(adapter, CallOptions.INFERENCE), gradients, gradInput);
                results.add(gradInput.toArray());
                gradients.forEach(gradient -> results.add(gradient.toArray()));
            }
        }
        int half = results.size() / 2;
        for (int index = 0; index < half; index++) {
            assertThat(results.get(half + index)).containsExactly(results.get(index));
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void composesWithALoraAndAGate(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create(each.kind, each.options);
            bench.perturb(adapter, 0.1);
            Adapter lora = bench.create("lora", Map.of("r", 2, "lora_alpha", 2));
            bench.perturb(lora, 0.2);
            Map<String, Object> gates = new LinkedHashMap<>();
            gates.put("target_modules", List.of("q_proj"));
            gates.put("feedforward_modules", List.of());
            Adapter gate = bench.create("ia3", gates);
            bench.perturb(gate, 0.2);
            ComposedAdapter composed =
                    new ComposedAdapter(
                            List.of(
                                    new ComposedAdapter.Member(adapter, 0.75f),
                                    new ComposedAdapter.Member(gate, 1),
                                    new ComposedAdapter.Member(lora, 1)));
            checkDirections(bench, composed, CallOptions.INFERENCE, each.kind.equals("dora"));
            checkMerged(bench, composed);
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void aMixedBatchComputesWhatItsPartsDoAlone(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create(each.kind, each.options);
            bench.perturb(adapter, 0.2);
            Adapter other = bench.create("dora", Map.of("r", 2));
            bench.perturb(other, 0.2);
            MixedAdapter mixed = new MixedAdapter(bench.site, List.of(Optional.of(adapter), Optional.of(other)));
            RowGroups groups =
                    new RowGroups(
                            List.of(
                                    new RowGroups.Run(0, 2, 1),
                                    new RowGroups.Run(2, 5, 0),
                                    new RowGroups.Run(5, AdapterBench.TOKENS, RowGroups.BASE)));
            List<Matrix> gradients = new ArrayList<>();
            Matrix gradInput = bench.matrix(AdapterBench.TOKENS, AdapterBench.IN);
            AdapterCall call = bench.call(mixed, CallOptions.INFERENCE.withGroups(groups));
            backward(bench, mixed, call, gradients, gradInput);
            Matrix y = bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT);
            mixed.forward(call, y);

            checkRows(bench, adapter, y, gradInput, gradients.subList(0, adapter.trainableParameters().size()), 2, 5);
            checkRows(bench, other, y, gradInput, gradients.subList(gradients.size() - 3, gradients.size()), 0, 2);
            float[] base = bench.base().rows(5, AdapterBench.TOKENS).toArray();
            assertThat(y.rows(5, AdapterBench.TOKENS).toArray()).containsExactly(base);
        }
    }

    private static void checkRows(
            AdapterBench bench, Adapter alone, Matrix y, Matrix gradInput, List<Matrix> gradients, int from, int to) {
        Matrix expectedY = bench.matrix(to - from, AdapterBench.OUT);
        Matrix expectedInput = bench.matrix(to - from, AdapterBench.IN);
        List<Matrix> expected = new ArrayList<>();
        gradients.forEach(gradient -> expected.add(bench.matrix(gradient.rows(), gradient.columns())));
        AdapterCall call = bench.call(alone, CallOptions.INFERENCE);
        AdapterCall rows =
                new AdapterCall(
                        bench.compute,
                        bench.site.weight(),
                        bench.site.bias(),
                        bench.x.rows(from, to),
                        call.saved(),
                        CallOptions.INFERENCE);
        alone.forward(rows, expectedY);
        alone.backward(rows, bench.gradOutput.rows(from, to), expectedInput, expected);
        close(y.rows(from, to), expectedY);
        close(gradInput.rows(from, to), expectedInput);
        for (int index = 0; index < expected.size(); index++) {
            close(gradients.get(index), expected.get(index));
        }
    }

    private static void close(Matrix found, Matrix expected) {
        AdapterBench.close("mixed", AdapterBench.doubles(found), AdapterBench.doubles(expected), 2e-6);
    }
}
