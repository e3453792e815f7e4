package io.vectune.adapters.kind;

import static io.vectune.adapters.kind.LoraTest.get;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.CallOptions;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.Steering;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AntiPastoTest {
    private static final int RANK = 8;

    // The changed weight formed densely: W - U S Vt + U_eff diag(S + a delta) V_eff, row by row of x for its own a.
    private static AdapterOracle oracle(int block, String basis, double[] coefficients) {
        return (layer, p, constants, x) -> {
            double[] y = layer.base(x);
            for (int t = 0; t < layer.tokens(); t++) {
                double[] row = Arrays.copyOfRange(x, t * layer.in(), (t + 1) * layer.in());
                double[] z = AdapterOracle.multiply(get(p, "v"), row, RANK, layer.in(), 1);
                double[] change = change(p, block, basis, coefficients[t], z);
                double[] delta = AdapterOracle.multiply(get(p, "u"), change, layer.out(), RANK, 1);
                for (int o = 0; o < layer.out(); o++) {
                    y[t * layer.out() + o] += delta[o];
                }
            }
            return y;
        };
    }

    private static double[] change(Map<String, double[]> p, int block, String basis, double a, double[] z) {
        double[] r = new double[RANK * RANK];
        for (int n = 0; n < RANK / block; n++) {
            double[] rotation = rotation(p.get("rotation"), n, block, basis.equals("none") ? 0 : a);
            for (int i = 0; i < block; i++) {
                for (int j = 0; j < block; j++) {
                    r[(n * block + i) * RANK + n * block + j] = rotation[i * block + j];
                }
            }
        }
        double[] s = get(p, "s");
        double[] scale = AdapterOracle.plus(s, get(p, "delta"), a);
        double[] result = z.clone();
        if (basis.equals("U")) {
            for (int k = 0; k < RANK; k++) {
                result[k] *= scale[k];
            }
            result = AdapterOracle.multiply(AdapterOracle.transpose(r, RANK, RANK), result, RANK, RANK, 1);
        } else {
            result = AdapterOracle.multiply(r, result, RANK, RANK, 1);
            for (int k = 0; k < RANK; k++) {
                result[k] *= scale[k];
            }
        }
        for (int k = 0; k < RANK; k++) {
            result[k] -= z[k] * s[k];
        }
        return result;
    }

    private static double[] rotation(double @Nullable [] angles, int n, int block, double a) {
        double limit = 2 * Math.tan(0.25);
        double[] minus = SmallMatrix.identity(block);
        double[] plus = SmallMatrix.identity(block);
        int count = block * (block - 1) / 2;
        int entry = n * count;
        for (int i = 0; i < block && angles != null; i++) {
            for (int j = i + 1; j < block; j++) {
                double value = a * limit * Math.tanh(angles[entry++] / 2 / limit) / 2;
                minus[i * block + j] -= value;
                minus[j * block + i] += value;
                plus[i * block + j] += value;
                plus[j * block + i] -= value;
            }
        }
        return AdapterOracle.multiply(SmallMatrix.inverse(minus, block), plus, block, block, block);
    }

    @ParameterizedTest
    @CsvSource({"4, V", "2, V", "8, V", "4, U", "2, U", "4, none"})
    void matchesItsFormulaForEveryRowsCoefficient(int block, String basis) {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create("antipasto", Map.of("r", RANK, "block_size", block, "rotate_basis", basis));
            bench.perturb(adapter, 0.3);
            float[] rows = {1, 1, -1, 0.5f, 0, -2, 1};
            double[] coefficients = new double[rows.length];
            for (int t = 0; t < rows.length; t++) {
                coefficients[t] = rows[t];
            }
            CallOptions options = CallOptions.INFERENCE.withSteering(Steering.ofRows(rows));
            bench.check(adapter, options, oracle(block, basis, coefficients), 2e-6);
            double[] ones = {1, 1, 1, 1, 1, 1, 1};
            bench.checkMerge(adapter, oracle(block, basis, ones), 2e-6);
        }
    }

    @Test
    void coefficientZeroIsTheBaseBitwise() {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            Adapter adapter = bench.create("antipasto", Map.of("r", RANK));
            bench.perturb(adapter, 0.3);
            Matrix y = bench.matrix(AdapterBench.TOKENS, AdapterBench.OUT);
            adapter.forward(bench.call(adapter, CallOptions.INFERENCE.withSteering(Steering.of(0))), y);
            assertThat(y.toArray()).containsExactly(bench.base().toArray());
        }
    }

    @Test
    void refusesFewerTokensThanDirections() {
        try (AdapterBench bench = new AdapterBench(true, 1)) {
            AdapterConfig config = AdapterConfig.of("antipasto", Map.of("r", RANK));
            Adapter adapter = bench.create("antipasto", Map.of("r", RANK));
            Initialization few =
                    new Initialization(bench.compute, 1)
                            .withInputs(Map.of(bench.site.name(), bench.matrix(3, AdapterBench.IN)), Map.of());
            assertThatThrownBy(() -> config.recipe().initialize(adapter, bench.site, few))
                    .hasMessageContaining("q_proj: AntiPaSTO needs at least " + RANK + " calibration tokens")
                    .hasMessageContaining("found 3; give more rows, or lower r");
        }
    }

    @Test
    void refusesBlocksThatDoNotDivide() {
        assertThatThrownBy(() -> AdapterConfig.of("antipasto", Map.of("r", 10, "block_size", 4)))
                .hasMessage("antipasto: block_size: expected at least 2 and a divisor of r=10, found 4");
    }
}
