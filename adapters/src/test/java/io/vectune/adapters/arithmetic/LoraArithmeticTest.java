package io.vectune.adapters.arithmetic;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.linalg.TopSvd;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class LoraArithmeticTest {
    private static final int OUT = 14;
    private static final int IN = 10;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final LayerSite site;

    LoraArithmeticTest() {
        Tensor weight = Tensor.allocate(arena, DType.F32, OUT, IN);
        new SplitMix(1).fillNormal(weight.asMatrix(), 0, 1);
        this.site = new LayerSite("a.q_proj", new DenseWeight(weight), null);
    }

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private AdapterSet adapter(String kind, Map<String, ?> options, long seed) {
        Map<String, Object> fields = new LinkedHashMap<>(options);
        fields.putIfAbsent("target_modules", List.of("q_proj"));
        AdapterSet set = AdapterSet.create(AdapterConfig.of(kind, fields), List.of(site), compute, seed);
        SplitMix random = new SplitMix(seed);
        for (AdapterSet.Entry entry : set.parameters()) {
            Matrix values = entry.parameter().values();
            for (int row = 0; entry.parameter().trainable() && row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    values.set(row, column, (float) (values.get(row, column) + 0.3 * random.nextNormal()));
                }
            }
        }
        set.refresh(compute);
        return set;
    }

    private double[] delta(AdapterSet set) {
        Adapter adapter = Objects.requireNonNull(set.adapter(site.name()));
        return LoraExport.delta(adapter, site, compute, arena);
    }

    private static double distance(double[] a, double[] b) {
        double error = 0;
        double scale = 0;
        for (int i = 0; i < a.length; i++) {
            error += (a[i] - b[i]) * (a[i] - b[i]);
            scale += b[i] * b[i];
        }
        return Math.sqrt(error / scale);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "lora",
                "pissa",
                "olora",
                "delora",
                "hra",
                "antipasto",
                "miss",
                "vera",
                "adalora",
                "gralora",
                "loha"
            })
    void kindsWithALowRankFormBecomeLorasExactly(String kind) {
        String rank = kind.equals("adalora") ? "init_r" : "r";
        Map<String, Object> options =
                switch (kind) {
                    case "adalora" -> Map.of(rank, 4, "total_step", 9);
                    case "loha" -> Map.of(rank, 2);
                    default -> Map.of(rank, 4);
                };
        try (AdapterSet source = adapter(kind, options, 3)) {
            LoraExport.Result result = LoraExport.export(source, compute, 2);
            try (AdapterSet exported = result.set()) {
                assertThat(result.layers()).allMatch(LoraExport.Layer::exact);
                assertThat(exported.config().recipe().kind()).isEqualTo("lora");
                assertThat(distance(delta(exported), delta(source))).isLessThan(3e-6);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"dora", "oft", "loha", "lokr", "ia3"})
    void othersAreApproximatedWithTheErrorReported(String kind) {
        Map<String, Object> options =
                switch (kind) {
                    case "oft" -> Map.of("oft_block_size", 5);
                    case "ia3" -> Map.of("target_modules", List.of("q_proj"), "feedforward_modules", List.of("q_proj"));
                    default -> Map.of("r", 3);
                };
        try (AdapterSet source = adapter(kind, options, 3)) {
            LoraExport.Result result = LoraExport.export(source, compute, 4);
            try (AdapterSet exported = result.set()) {
                LoraExport.Layer layer = result.layers().getFirst();
                assertThat(layer.exact()).isFalse();
                assertThat(distance(delta(exported), delta(source))).isCloseTo(layer.relativeError(), within(1e-4));
            }
        }
    }

    // Large enough for the randomized decomposition; the change of this LoKr has rank 20. The weight is small, as
    // the change is the difference of two f32 weights.
    @ParameterizedTest
    @ValueSource(ints = {4, 20})
    void largeLayersAreApproximatedAsWellAsExactly(int rank) {
        Tensor weight = Tensor.allocate(arena, DType.F32, 300, 200);
        new SplitMix(1).fillNormal(weight.asMatrix(), 0, 0.01);
        LayerSite large = new LayerSite("a.q_proj", new DenseWeight(weight), null);
        AdapterConfig config =
                AdapterConfig.of("lokr", Map.of("r", 2, "init_weights", false, "target_modules", List.of("q_proj")));
        try (AdapterSet source = AdapterSet.create(config, List.of(large), compute, 3)) {
            LoraExport.Result result = LoraExport.export(source, compute, rank);
            try (AdapterSet exported = result.set()) {
                Adapter lokr = Objects.requireNonNull(source.adapter(large.name()));
                Adapter lora = Objects.requireNonNull(exported.adapter(large.name()));
                double[] change = LoraExport.delta(lokr, large, compute, arena);
                double reported = result.layers().getFirst().relativeError();
                assertThat(distance(LoraExport.delta(lora, large, compute, arena), change))
                        .isCloseTo(reported, within(1e-5));
                double[] values = TopSvd.exact(change, 300, 200, 200).s();
                double best = 0;
                double all = 0;
                for (int k = 0; k < values.length; k++) {
                    best += k < rank ? 0 : values[k] * values[k];
                    all += values[k] * values[k];
                }
                assertThat(reported).isCloseTo(Math.sqrt(best / all), within(1e-5));
            }
        }
    }

    @Test
    void normsAreNotExported() {
        Tensor scale = Tensor.allocate(arena, DType.F32, 1, IN);
        LayerSite norm = new LayerSite("model.norm", new DenseWeight(scale), null, LayerSite.Part.NORM);
        try (AdapterSet source =
                AdapterSet.create(
                        AdapterConfig.of("ln_tuning", Map.of("target_modules", List.of("norm"))),
                        List.of(norm),
                        compute,
                        1)) {
            assertThatThrownBy(() -> LoraExport.export(source, compute, 2))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("model.norm: ln_tuning changes a norm");
        }
    }

    private AdapterSet combine(
            List<WeightedCombination.Source> sources,
            WeightedCombination.Method method,
            WeightedCombination.Parity parity,
            int rank,
            double density) {
        return WeightedCombination.combine(
                sources, new WeightedCombination.Options(method, parity, rank, density, false, 5), compute);
    }

    @Test
    void catAndLinearAreTheWeightedSumOfTheChanges() {
        try (AdapterSet first = adapter("lora", Map.of("r", 2, "lora_alpha", 6), 1);
                AdapterSet second = adapter("lora", Map.of("r", 3, "use_rslora", true), 2)) {
            List<WeightedCombination.Source> sources =
                    List.of(new WeightedCombination.Source(first, 0.7), new WeightedCombination.Source(second, -0.4));
            double[] expected = new double[OUT * IN];
            double[] left = delta(first);
            double[] right = delta(second);
            for (int i = 0; i < expected.length; i++) {
                expected[i] = 0.7 * left[i] - 0.4 * right[i];
            }
            try (AdapterSet cat =
                            combine(sources, WeightedCombination.Method.CAT, WeightedCombination.Parity.PEFT, 0, 1);
                    AdapterSet linear =
                            combine(
                                    sources,
                                    WeightedCombination.Method.LINEAR,
                                    WeightedCombination.Parity.EXACT,
                                    5,
                                    1)) {
                assertThat(distance(delta(cat), expected)).isLessThan(3e-6);
                assertThat(distance(delta(linear), expected)).isLessThan(3e-6);
            }
            assertThatThrownBy(() ->
                            combine(sources, WeightedCombination.Method.LINEAR, WeightedCombination.Parity.PEFT, 0, 1)
                                    .close())
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("expected sources of one rank, found 2 and 3");
        }
    }

    @ParameterizedTest
    @EnumSource(WeightedCombination.Method.class)
    void biasesAreRefusedRatherThanLost(WeightedCombination.Method method) {
        try (AdapterSet plain = adapter("lora", Map.of("r", 2), 1);
                AdapterSet biased = adapter("lora", Map.of("r", 2, "lora_bias", true), 2)) {
            List<WeightedCombination.Source> sources =
                    List.of(new WeightedCombination.Source(plain, 1), new WeightedCombination.Source(biased, 1));
            assertThatThrownBy(() -> combine(sources, method, WeightedCombination.Parity.EXACT, 0, 1).close())
                    .isInstanceOf(VectuneException.class)
                    .hasMessage("a.q_proj: lora changes the bias, which a LoRA cannot express; merge it instead");
        }
    }

    @ParameterizedTest
    @EnumSource(WeightedCombination.Method.class)
    void allMethodsKeepASingleSourceAtFullDensity(WeightedCombination.Method method) {
        try (AdapterSet source = adapter("lora", Map.of("r", 3), 1)) {
            List<WeightedCombination.Source> one = List.of(new WeightedCombination.Source(source, 1));
            for (WeightedCombination.Parity parity : WeightedCombination.Parity.values()) {
                try (AdapterSet result = combine(one, method, parity, 0, 1)) {
                    assertThat(distance(delta(result), delta(source))).isLessThan(3e-6);
                }
            }
        }
    }

    @Test
    void sparseMergingFollowsTheDefinitions() {
        double[] first = {3, -1, 0.5, -2};
        double[] second = {-1, -2, 0.25, 4};
        assertThat(SparseMerging.magnitudePrune(first, 0.5)).containsExactly(3, 0, 0, -2);
        assertThat(SparseMerging.sum(List.of(first, second), new double[] {2, 1})).containsExactly(5, -4, 1.25, 0);
        // signs of the sums: +, -, +, +
        double[] merged =
                SparseMerging.electAndMerge(List.of(first, second), new double[] {1, 1}, SparseMerging.Election.TOTAL);
        assertThat(merged).containsExactly(3, -1.5, 0.375, 4);
        double[] kept = SparseMerging.dare(first, 0.5, new SplitMix(1));
        for (int i = 0; i < kept.length; i++) {
            assertThat(kept[i]).isIn(0.0, 2 * first[i]);
        }
    }
}
