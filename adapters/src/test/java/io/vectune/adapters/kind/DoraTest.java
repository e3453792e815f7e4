package io.vectune.adapters.kind;

import static io.vectune.adapters.kind.LoraTest.get;
import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.CallOptions;
import io.vectune.runtime.tensor.Matrix;
import java.util.Map;
import org.junit.jupiter.api.Test;

class DoraTest {
    private static final double RTOL = 2e-6;

    // y = m / |W + sBA| (x (W + sBA)ᵀ) + b; the norm at the point of the derivative, as it is detached.
    static AdapterOracle oracle(int rank, double scaling) {
        return (layer, p, constants, x) -> {
            double[] delta = AdapterOracle.multiply(get(p, "loraB"), get(p, "loraA"), layer.out(), rank, layer.in());
            double[] direction = AdapterOracle.plus(layer.weight(), delta, scaling);
            double[] factor = factors(layer, p, constants, rank, scaling);
            for (int o = 0; o < layer.out(); o++) {
                for (int i = 0; i < layer.in(); i++) {
                    direction[o * layer.in() + i] *= factor[o];
                }
            }
            return layer.linear(x, direction, layer.bias());
        };
    }

    private static double[] factors(
            AdapterOracle.Layer layer,
            Map<String, double[]> p,
            Map<String, double[]> constants,
            int rank,
            double scaling) {
        double[] fixed =
                AdapterOracle.plus(
                        layer.weight(),
                        AdapterOracle.multiply(
                                get(constants, "loraB"), get(constants, "loraA"), layer.out(), rank, layer.in()),
                        scaling);
        double[] factor = new double[layer.out()];
        for (int o = 0; o < layer.out(); o++) {
            double square = 0;
            for (int i = 0; i < layer.in(); i++) {
                square += fixed[o * layer.in() + i] * fixed[o * layer.in() + i];
            }
            factor[o] = get(p, "magnitude")[o] / Math.sqrt(square);
        }
        return factor;
    }

    @Test
    void startsAsTheIdentityExactly() {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            assertThat(bench.distanceFromBase(bench.create("dora", Map.of("r", 4)))).isZero();
        }
    }

    @Test
    void matchesItsFormula() {
        for (boolean bias : new boolean[] {false, true}) {
            try (AdapterBench bench = new AdapterBench(bias, 2)) {
                Adapter adapter = bench.create("dora", Map.of("r", 4, "lora_alpha", 8));
                bench.perturb(adapter, 0.3);
                bench.check(adapter, CallOptions.INFERENCE, oracle(4, 2), RTOL);
                bench.checkMerge(adapter, oracle(4, 2), RTOL);
            }
        }
    }

    // As in a block whose forward is computed again before its backward.
    @Test
    void dropsTheSameWhereNothingIsSaved() {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create("dora", Map.of("r", 4, "lora_alpha", 4, "lora_dropout", 0.4));
            bench.perturb(adapter, 0.3);
            AdapterCall saving = bench.call(adapter, new CallOptions(true, 3));
            Matrix expected = bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT);
            adapter.forward(saving, expected);
            AdapterCall plain =
                    new AdapterCall(bench.compute, saving.weight(), saving.bias(), saving.x(), null, saving.options());
            Matrix found = bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT);
            adapter.forward(plain, found);
            assertThat(found.toArray()).containsExactly(expected.toArray());
        }
    }

    @Test
    void dropsInBothTermsAsPeftDoes() {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create("dora", Map.of("r", 4, "lora_alpha", 4, "lora_dropout", 0.4));
            bench.perturb(adapter, 0.3);
            double[] mask = LoraTest.mask(bench, 0.4, 3);
            AdapterOracle dropped =
                    (layer, p, constants, x) -> {
                        double[] masked = x.clone();
                        for (int i = 0; i < masked.length; i++) {
                            masked[i] *= mask[i];
                        }
                        double[] factor = factors(layer, p, constants, 4, 1);
                        double[] delta =
                                AdapterOracle.multiply(get(p, "loraB"), get(p, "loraA"), layer.out(), 4, layer.in());
                        double[] base = layer.linear(masked, layer.weight(), new double[0]);
                        double[] low = layer.linear(masked, delta, new double[0]);
                        double[] y = layer.base(x);
                        for (int i = 0; i < y.length; i++) {
                            double c = factor[i % layer.out()];
                            y[i] += (c - 1) * base[i] + c * low[i];
                        }
                        return y;
                    };
            bench.check(adapter, new CallOptions(true, 3), dropped, RTOL);
        }
    }
}
