package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.Initialization;
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
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// What the start values of LoRA's family are for.
class LoraStartTest {
    private static final int IN = AdapterBench.IN;
    private static final int OUT = AdapterBench.OUT;

    private static double[] parameter(Adapter adapter, String name) {
        for (AdapterParameter parameter : adapter.parameters()) {
            if (parameter.name().equals(name)) {
                return AdapterBench.doubles(parameter.values());
            }
        }
        throw new AssertionError(name);
    }

    private static double[] weight(AdapterBench bench) {
        Matrix dense = bench.matrix(OUT, IN);
        DenseCopy.of(bench.site.weight(), dense);
        return AdapterBench.doubles(dense);
    }

    @Test
    void micaStartsAtTheMinorDirectionsOfTheOutputs() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            Adapter adapter = bench.create("lora", Map.of("r", 3, "init_lora_weights", "mica"));
            assertThat(adapter.trainableParameters()).hasSize(1);
            assertThat(parameter(adapter, "loraA")).containsOnly(0);
            double[] b = AdapterOracle.transpose(parameter(adapter, "loraB"), OUT, 3);
            double[] gram = AdapterOracle.multiply(b, AdapterOracle.transpose(b, 3, OUT), 3, OUT, 3);
            AdapterBench.close("orthonormal", gram, SmallMatrix.identity(3), 1e-6);
            // |b_kᵀ W| are the smallest singular values.
            double[] image = AdapterOracle.multiply(b, weight(bench), 3, OUT, IN);
            double[] smallest = TopSvd.trailing(bench.site.weight(), 3).s();
            for (int k = 0; k < 3; k++) {
                double square = 0;
                for (int i = 0; i < IN; i++) {
                    square += image[k * IN + i] * image[k * IN + i];
                }
                assertThat(Math.abs(Math.sqrt(square) - smallest[k])).isLessThan(1e-5);
            }
        }
    }

    @Test
    void theOrthogonalStartHasNoEffectAndEveryGradient() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            Adapter adapter = bench.create("lora", Map.of("r", 4, "init_lora_weights", "orthogonal"));
            double[] a = parameter(adapter, "loraA");
            double[] b = parameter(adapter, "loraB");
            double[] product = AdapterOracle.multiply(b, a, OUT, 4, IN);
            double size = 0;
            for (int e = 0; e < product.length; e++) {
                size = Math.max(size, Math.abs(product[e]));
            }
            assertThat(size).isLessThan(1e-7);
            assertThat(Arrays.stream(a).map(Math::abs).max().orElse(0)).isGreaterThan(0.01);
            assertThat(Arrays.stream(b).map(Math::abs).max().orElse(0)).isGreaterThan(0.01);
            assertThatThrownBy(() -> bench.create("lora", Map.of("r", 3, "init_lora_weights", "orthogonal")))
                    .hasMessageContaining("needs an even rank, found r=3");
        }
    }

    @Test
    void pissaWithIterationsStartsAtTheTopOfTheWeightToo() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            Map<String, Object> options = Map.of("r", 3, "lora_alpha", 6, "init_lora_weights", "pissa_niter_4");
            Adapter adapter = bench.create("pissa", options);
            double[] start =
                    AdapterOracle.multiply(parameter(adapter, "startB"), parameter(adapter, "startA"), OUT, 3, IN);
            TopSvd svd = TopSvd.exact(weight(bench), OUT, IN, 3);
            double[] top = new double[OUT * IN];
            for (int o = 0; o < OUT; o++) {
                for (int i = 0; i < IN; i++) {
                    for (int k = 0; k < 3; k++) {
                        top[o * IN + i] += svd.u()[o * 3 + k] * svd.s()[k] * svd.v()[k * IN + i] / 2;
                    }
                }
            }
            AdapterBench.close("top part over the scaling", start, top, 1e-6);
            assertThat(bench.distanceFromBase(adapter)).isZero();
        }
    }

    // Files do not hold PiSSA's start: a reader decomposes the weight again, without the seed of the run.
    @Test
    void pissaStartsAtTheSameBitsForAnySeedOnLargeLayersToo() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor weight = Tensor.allocate(arena, DType.F32, 210, 190);
            new SplitMix(1).fillNormal(weight.asMatrix(), 0, 0.02);
            LayerSite site = new LayerSite("q_proj", new DenseWeight(weight), null);
            AdapterConfig config = AdapterConfig.of("pissa", Map.of("r", 4, "target_modules", List.of("q_proj")));
            try (AdapterSet first = AdapterSet.create(config, List.of(site), compute, 1);
                    AdapterSet second = AdapterSet.create(config, List.of(site), compute, 7)) {
                for (int index = 0; index < first.parameters().size(); index++) {
                    assertThat(first.parameters().get(index).parameter().values().toArray())
                            .containsExactly(second.parameters().get(index).parameter().values().toArray());
                }
            }
        }
    }

    @Test
    void aStartThatPeftDrawsAtRandomIsNotReadAndNotWritten() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            AdapterConfig config = AdapterConfig.of("pissa", Map.of("r", 3, "init_lora_weights", "pissa_niter_4"));
            assertThat(config.fields()).containsEntry("init_lora_weights", "pissa");
            Adapter adapter = bench.create("pissa", Map.of("r", 3));
            assertThatThrownBy(
                            () -> config.recipe().complete(adapter, bench.site, new Initialization(bench.compute, 0)))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("init_lora_weights: expected a start that can be computed again")
                    .hasMessageContaining("pissa_niter_4")
                    .hasMessageContaining("path_initial_model_for_weight_conversion");
        }
    }

    @Test
    void anExactResidualIsRefusedBeyondTheRankOfTheWeight() {
        for (String start : new String[] {"pissa", "olora", "mica"}) {
            try (AdapterBench bench = new AdapterBench(false, 1)) {
                String kind = start.equals("mica") ? "lora" : start;
                assertThatThrownBy(() -> bench.create(kind, Map.of("r", 13, "init_lora_weights", start)))
                        .hasMessageContaining("r: expected at most 12")
                        .hasMessageContaining("found 13");
            }
        }
    }
}
