package io.vectune.adapters.arithmetic;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StepRule;
import io.vectune.adapters.arithmetic.WeightedCombination.Method;
import io.vectune.adapters.arithmetic.WeightedCombination.Parity;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// add_weighted_adapter, AdaLoRA's allocation of ranks and LoftQ's start, as the real peft computed them.
class CombinationGoldenTest {
    private static final Path DATA = Path.of(System.getProperty("vectune.testData"), "adapters", "combinations");
    private static final String MODULE = "q_proj.0";

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private SafetensorsFile golden(String name) {
        return SafetensorsFile.open(DATA.resolve(name + ".safetensors"), arena);
    }

    private AdapterSet lora(SafetensorsFile golden, LayerSite site, String name, int alpha) {
        AdapterConfig config =
                AdapterConfig.of("lora", Map.of("r", 3, "lora_alpha", alpha, "target_modules", List.of(MODULE)));
        AdapterSet set = AdapterSet.create(config, List.of(site), compute, 1);
        List<AdapterParameter> parameters = Objects.requireNonNull(set.adapter(MODULE)).parameters();
        parameters.get(0).values().copyFrom(golden.tensor(name + ".A").asMatrix());
        parameters.get(1).values().copyFrom(golden.tensor(name + ".B").asMatrix());
        set.refresh(compute);
        return set;
    }

    @ParameterizedTest
    @CsvSource({
        "cat, CAT, PEFT, 1, false",
        "linear, LINEAR, PEFT, 1, false",
        "svd, LINEAR, EXACT, 1, false",
        "ties, TIES, PEFT, 0.5, false",
        "ties-frequency, TIES, PEFT, 0.5, true",
        "magnitude_prune, MAGNITUDE_PRUNE, PEFT, 0.5, false",
        "dare_linear, DARE_LINEAR, PEFT, 1, false",
        "dare_ties, DARE_TIES, PEFT, 1, false",
        "ties_svd, TIES, EXACT, 0.5, false",
        "magnitude_prune_svd, MAGNITUDE_PRUNE, EXACT, 0.5, false",
        "dare_linear_svd, DARE_LINEAR, EXACT, 1, false",
        "dare_ties_svd, DARE_TIES, EXACT, 1, false"
    })
    void combinesAsPeft(String name, Method method, Parity parity, double density, boolean frequency) {
        SafetensorsFile golden = golden("weighted");
        LayerSite site = new LayerSite(MODULE, new DenseWeight(golden.tensor("weight")), null);
        try (AdapterSet first = lora(golden, site, "first", 6);
                AdapterSet second = lora(golden, site, "second", 3)) {
            List<WeightedCombination.Source> sources =
                    List.of(new WeightedCombination.Source(first, 0.7), new WeightedCombination.Source(second, 0.4));
            int rank = method == Method.CAT ? 0 : 3;
            WeightedCombination.Options options =
                    new WeightedCombination.Options(method, parity, rank, density, frequency, 1);
            try (AdapterSet combined = WeightedCombination.combine(sources, options, compute)) {
                Adapter adapter = Objects.requireNonNull(combined.adapter(MODULE));
                double[] found = LoraExport.delta(adapter, site, compute, arena);
                close(name, found, golden.tensor("delta." + name).asMatrix().toArray(), 1e-5);
            }
        }
    }

    @Test
    void allocatesRanksAsPeft() {
        SafetensorsFile golden = golden("allocation");
        int steps = Integer.parseInt(Objects.requireNonNull(golden.metadata().get("total_step")));
        Map<String, Object> options =
                Map.of(
                        "init_r",
                        5,
                        "target_r",
                        2,
                        "total_step",
                        steps,
                        "tinit",
                        2,
                        "tfinal",
                        2,
                        "deltaT",
                        2,
                        "target_modules",
                        List.of("q_proj"));
        AdapterConfig config = AdapterConfig.of("adalora", options);
        List<LayerSite> sites = new ArrayList<>();
        for (int layer = 0; layer < 2; layer++) {
            Tensor weight = Tensor.allocate(arena, DType.F32, 14, 10);
            sites.add(new LayerSite("layers." + layer + ".q_proj", new DenseWeight(weight), null));
        }
        try (AdapterSet set = AdapterSet.create(config, sites, compute, 1)) {
            List<String> modules = new ArrayList<>();
            StepRule rule = Objects.requireNonNull(set.stepRule(modules));
            for (int step = 0; step < steps; step++) {
                List<List<Matrix>> gradients = new ArrayList<>();
                for (int layer = 0; layer < 2; layer++) {
                    List<Matrix> ofLayer = new ArrayList<>();
                    Adapter adapter = Objects.requireNonNull(set.adapter(modules.get(layer)));
                    for (AdapterParameter parameter : adapter.trainableParameters()) {
                        String kind = parameter.name().substring("lora".length());
                        String key = step + "." + layer + "." + kind;
                        int rows = parameter.values().rows();
                        int columns = parameter.values().columns();
                        parameter.values().copyFrom(golden.tensor(key + ".value").reshape(rows, columns).asMatrix());
                        ofLayer.add(golden.tensor(key + ".gradient").reshape(rows, columns).asMatrix());
                    }
                    gradients.add(ofLayer);
                }
                rule.afterStep(step, gradients);
                for (int layer = 0; layer < 2; layer++) {
                    Matrix e = Objects.requireNonNull(set.adapter(modules.get(layer))).parameters().get(2).values();
                    Tensor expected = golden.tensor(step + "." + layer + ".E.after");
                    assertThat(e.toArray())
                            .as("step " + step)
                            .containsExactly(expected.reshape(1, expected.elements()).asMatrix().toArray());
                }
            }
        }
    }

    @Test
    void loftQTakesWhatQuantizationLost() {
        SafetensorsFile golden = golden("loftq");
        LayerSite site = new LayerSite(MODULE, new DenseWeight(golden.tensor("quantized")), null);
        AdapterConfig config =
                AdapterConfig.of("loftq", Map.of("r", 4, "lora_alpha", 4, "target_modules", List.of(MODULE)));
        Initialization initialization =
                new Initialization(compute, 1).withOriginals(Map.of(MODULE, new DenseWeight(golden.tensor("weight"))));
        try (AdapterSet set = AdapterSet.create(config, List.of(site), initialization)) {
            double[] found = LoraExport.delta(Objects.requireNonNull(set.adapter(MODULE)), site, compute, arena);
            close("loftq", found, golden.tensor("product").asMatrix().toArray(), 1e-4);
        }
    }

    private static void close(String what, double[] found, float[] expected, double rtol) {
        assertThat(found).hasSize(expected.length);
        double scale = 0;
        double error = 0;
        for (int i = 0; i < expected.length; i++) {
            scale = Math.max(scale, Math.abs(expected[i]));
            double difference = Math.abs(found[i] - expected[i]);
            error = difference <= error ? error : difference;
        }
        assertThat(error / scale).as(what).isLessThanOrEqualTo(rtol);
    }
}
