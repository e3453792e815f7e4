package io.vectune.adapters.kind;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.CallOptions;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.Matrix;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;

class LoraTest {
    private static final double RTOL = 2e-6;

    static AdapterOracle oracle(int rank, double scaling) {
        return (layer, p, constants, x) -> {
            double[] delta = AdapterOracle.multiply(get(p, "loraB"), get(p, "loraA"), layer.out(), rank, layer.in());
            double[] bias = layer.bias();
            if (p.containsKey("loraBias")) {
                bias =
                        AdapterOracle.plus(
                                bias.length == 0 ? new double[layer.out()] : bias, get(p, "loraBias"), scaling);
            }
            return layer.linear(x, AdapterOracle.plus(layer.weight(), delta, scaling), bias);
        };
    }

    static double[] get(Map<String, double[]> parameters, String name) {
        return Objects.requireNonNull(parameters.get(name), name);
    }

    @Test
    void startsAsTheIdentityExactly() {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            assertThat(bench.distanceFromBase(bench.create("lora", Map.of("r", 4)))).isZero();
        }
    }

    @Test
    void matchesItsFormula() {
        for (boolean bias : new boolean[] {false, true}) {
            try (AdapterBench bench = new AdapterBench(bias, 2)) {
                Adapter adapter = bench.create("lora", Map.of("r", 4, "lora_alpha", 8));
                bench.perturb(adapter, 0.3);
                bench.check(adapter, CallOptions.INFERENCE, oracle(4, 2), RTOL);
                bench.checkMerge(adapter, oracle(4, 2), RTOL);
            }
        }
    }

    @Test
    void stabilizesTheRankAndTrainsTheBiasOfB() {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            Adapter adapter =
                    bench.create("lora", Map.of("r", 4, "lora_alpha", 3, "use_rslora", true, "lora_bias", true));
            bench.perturb(adapter, 0.3);
            bench.check(adapter, CallOptions.INFERENCE, oracle(4, 1.5), RTOL);
            bench.checkMerge(adapter, oracle(4, 1.5), RTOL);
        }
    }

    @Test
    void dropsTheSameElementsForwardAndBackward() {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create("lora", Map.of("r", 4, "lora_alpha", 4, "lora_dropout", 0.4));
            bench.perturb(adapter, 0.3);
            CallOptions options = new CallOptions(true, 99);
            double[] mask = mask(bench, 0.4, 99);
            AdapterOracle dropped =
                    (layer, p, constants, x) -> {
                        double[] masked = x.clone();
                        for (int i = 0; i < masked.length; i++) {
                            masked[i] *= mask[i];
                        }
                        double[] delta =
                                AdapterOracle.multiply(get(p, "loraB"), get(p, "loraA"), layer.out(), 4, layer.in());
                        return AdapterOracle.plus(layer.base(x), layer.linear(masked, delta, new double[0]), 1);
                    };
            bench.check(adapter, options, dropped, RTOL);
        }
    }

    static double[] mask(AdapterBench bench, double probability, long seed) {
        Matrix ones = bench.matrix(AdapterBench.TOKENS, AdapterBench.IN);
        ones.fill(1);
        io.vectune.adapters.kernel.DropoutMask.apply(
                bench.compute,
                ones,
                probability,
                seed,
                io.vectune.adapters.random.SplitMix.hash(bench.site.name()),
                ones);
        double[] mask = AdapterBench.doubles(ones);
        assertThat(mask).contains(0.0).contains((float) (1 / (1 - probability)));
        return mask;
    }

    @Test
    void takesRankAndAlphaFromPatterns() {
        try (AdapterBench bench = new AdapterBench(false, 1)) {
            Adapter adapter =
                    bench.create(
                            "lora",
                            Map.of(
                                    "r",
                                    4,
                                    "lora_alpha",
                                    8,
                                    "rank_pattern",
                                    Map.of("layers\\.3\\.self_attn\\.q_proj", 2),
                                    "alpha_pattern",
                                    Map.of("q_proj", 6)));
            assertThat(((Lora) adapter).loraA().rows()).isEqualTo(2);
            assertThat(((Lora) adapter).scaling()).isEqualTo(3f);
        }
    }

    @Test
    void refusesRankZeroAndFieldsThatChangeTheFunction() {
        assertThatThrownBy(() -> AdapterConfig.of("lora", Map.of("r", 0)))
                .isInstanceOf(VectuneException.class)
                .hasMessage("lora: r: expected a rank of at least 1, found 0");
        assertThatThrownBy(() -> AdapterConfig.of("lora", Map.of("use_qalora", true)))
                .hasMessageContaining("use_qalora = true is not supported");
        assertThatThrownBy(() -> AdapterConfig.of("lora", Map.of("fan_in_fan_out", true)))
                .hasMessageContaining("fan_in_fan_out");
        assertThatThrownBy(() -> AdapterConfig.of("lora", Map.of("init_lora_weights", "corda")))
                .hasMessageContaining("init_lora_weights: expected");
        assertThatThrownBy(() -> AdapterConfig.of("lor", Map.of())).hasMessageContaining("near matches: lora");
    }
}
