package io.vectune.adapters.kind;

import static io.vectune.adapters.kind.LoraTest.get;
import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.CallOptions;
import java.util.Map;
import org.junit.jupiter.api.Test;

class DeloraTest {
    private static double[] delta(
            AdapterOracle.Layer layer, double[] a, double[] b, double lambda, double[] norms, int rank) {
        double[] left = a.clone();
        double[] right = b.clone();
        for (int k = 0; k < rank; k++) {
            double squareA = 0;
            double squareB = 0;
            for (int i = 0; i < layer.in(); i++) {
                squareA += a[k * layer.in() + i] * a[k * layer.in() + i];
            }
            for (int o = 0; o < layer.out(); o++) {
                squareB += b[o * rank + k] * b[o * rank + k];
            }
            double sigma = lambda / rank / Math.max(1e-4, Math.sqrt(squareA)) / Math.max(1e-4, Math.sqrt(squareB));
            for (int i = 0; i < layer.in(); i++) {
                left[k * layer.in() + i] *= norms[i];
            }
            for (int o = 0; o < layer.out(); o++) {
                right[o * rank + k] *= sigma;
            }
        }
        return AdapterOracle.multiply(right, left, layer.out(), rank, layer.in());
    }

    private static AdapterOracle oracle(int rank, boolean frozenCopy) {
        return (layer, p, constants, x) -> {
            double[] norms = get(p, "weightNorm");
            double[] change = delta(layer, get(p, "loraA"), get(p, "loraB"), get(p, "lambda")[0], norms, rank);
            double[] weight = AdapterOracle.plus(layer.weight(), change, 1);
            if (frozenCopy) {
                double[] start =
                        delta(layer, get(p, "startA"), get(p, "startB"), get(p, "startLambda")[0], norms, rank);
                weight = AdapterOracle.plus(weight, start, -1);
            }
            return layer.linear(x, weight, layer.bias());
        };
    }

    @Test
    void matchesItsFormula() {
        for (boolean frozenCopy : new boolean[] {false, true}) {
            try (AdapterBench bench = new AdapterBench(true, 2)) {
                Object start = frozenCopy ? "frozen_copy" : (Object) true;
                Adapter adapter = bench.create("delora", Map.of("r", 3, "delora_lambda", 2, "init_weights", start));
                assertThat(bench.distanceFromBase(adapter)).isZero();
                bench.perturb(adapter, 0.3);
                bench.check(adapter, CallOptions.INFERENCE, oracle(3, frozenCopy), 3e-6);
                bench.checkMerge(adapter, oracle(3, frozenCopy), 3e-6);
            }
        }
    }
}
