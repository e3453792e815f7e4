package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.CallOptions;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Kinds against their formulas in double: output, merged weight, and all gradients by finite differences of the
/// formula. The formulas form the changed weight and bias densely, as the papers write them.
class FormulaTest {
    // Rounding of f32 sums over 16 features, relative to the largest entry.
    private static final double RTOL = 4e-6;

    private static final int IN = AdapterBench.IN;
    private static final int OUT = AdapterBench.OUT;

    /// The changed weight (OUT, IN) and bias (OUT) of a layer.
    @FunctionalInterface
    interface Change {
        AdapterOracle.Layer of(AdapterOracle.Layer layer, Map<String, double[]> p);
    }

    record Case(String kind, Map<String, Object> options, double distance, Change change) {
        @Override
        public String toString() {
            return kind + options;
        }
    }

    static Stream<Case> cases() {
        List<String> q = List.of("q_proj");
        Map<String, Object> outputGate = Map.of("target_modules", q, "feedforward_modules", List.of());
        Map<String, Object> inputGate = Map.of("target_modules", q, "feedforward_modules", q);
        Map<String, Object> hybrid = Map.of("r", 4, "gralora_k", 2, "hybrid_r", 2, "alpha", 12);
        return Stream.of(
                new Case("pissa", Map.of("r", 4, "lora_alpha", 8), 0.1, FormulaTest::residual),
                new Case("olora", Map.of("r", 4, "lora_alpha", 8), 0.1, FormulaTest::residual),
                new Case("hra", Map.of("r", 4), 0.2, (layer, p) -> reflected(layer, get(p, "u"), 4)),
                new Case("hra", Map.of("r", 6), 0.3, (layer, p) -> reflected(layer, get(p, "u"), 6)),
                new Case(
                        "hra",
                        Map.of("r", 3, "apply_GS", true, "init_weights", false),
                        0.1,
                        (layer, p) -> reflected(layer, orthonormal(get(p, "u"), 3), 3)),
                new Case("ia3", outputGate, 0.2, FormulaTest::gatedOutput),
                new Case("ia3", inputGate, 0.2, FormulaTest::gatedInput),
                new Case("road", Map.of("variant", "road_1", "group_size", 8), 0.2, (layer, p) -> road(layer, p, 1, 8)),
                new Case("road", Map.of("variant", "road_2", "group_size", 4), 0.2, (layer, p) -> road(layer, p, 2, 4)),
                new Case("road", Map.of("variant", "road_4", "group_size", 8), 0.2, (layer, p) -> road(layer, p, 4, 8)),
                new Case("oft", Map.of("oft_block_size", 4), 0.05, (layer, p) -> rotated(layer, p, 4, true)),
                new Case(
                        "oft",
                        Map.of("oft_block_size", 6, "use_cayley_neumann", false),
                        0.2,
                        (layer, p) -> rotated(layer, p, 6, false)),
                new Case(
                        "oft",
                        Map.of("oft_block_size", 3, "block_share", true, "use_cayley_neumann", false),
                        0.2,
                        (layer, p) -> rotated(layer, p, 3, false)),
                new Case("miss", Map.of("r", 4), 0.2, (layer, p) -> summed(layer, get(p, "block"), 4)),
                new Case("miss", Map.of("r", 5), 0.2, (layer, p) -> summed(layer, get(p, "block"), 5)),
                new Case(
                        "miss",
                        Map.of("r", 4, "init_weights", "mini", "mini_r", 8),
                        0.2,
                        (layer, p) -> summed(layer, get(p, "block"), 4)),
                new Case("miss", Map.of("r", 4, "init_weights", "bat"), 0.2, FormulaTest::blockwise),
                new Case("vera", Map.of("r", 6), 0.2, FormulaTest::vera),
                new Case("adalora", Map.of("init_r", 5, "lora_alpha", 10, "total_step", 9), 0.2, FormulaTest::triplets),
                // Formed at rank 3, a product of rank 4 at rank 2: 9 (12 + 16) > 12 x 16 >= 4 (12 + 16).
                new Case("loha", Map.of("r", 3, "alpha", 6), 0.2, FormulaTest::hadamard),
                new Case("loha", Map.of("r", 2, "alpha", 6), 0.2, FormulaTest::hadamard),
                new Case("lokr", Map.of("r", 2, "alpha", 4), 0.2, FormulaTest::kronecker),
                new Case("lokr", Map.of("r", 1, "alpha", 2, "decompose_both", true), 0.2, FormulaTest::kronecker),
                new Case("gralora", Map.of("r", 4, "gralora_k", 2, "alpha", 8), 0.2, FormulaTest::granular),
                new Case("gralora", hybrid, 0.2, FormulaTest::granular),
                new Case("trainable_tokens", Map.of("token_indices", List.of(3, 7)), 0.2, FormulaTest::replaced));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void agreesWithItsFormulaInDouble(Case each) {
        try (AdapterBench bench = new AdapterBench(true, 2)) {
            Adapter adapter = bench.create(each.kind, each.options);
            bench.perturb(adapter, each.distance);
            AdapterOracle oracle =
                    (layer, p, constants, x) -> {
                        AdapterOracle.Layer changed = each.change.of(layer, p);
                        return layer.linear(x, changed.weight(), changed.bias());
                    };
            bench.check(adapter, CallOptions.INFERENCE, oracle, RTOL);
            bench.checkMerge(adapter, oracle, RTOL);
        }
    }

    private static double[] get(Map<String, double[]> p, String name) {
        return Objects.requireNonNull(p.get(name), name);
    }

    private static AdapterOracle.Layer plus(AdapterOracle.Layer layer, double[] change, double factor) {
        return with(layer, AdapterOracle.plus(layer.weight(), change, factor), layer.bias());
    }

    private static AdapterOracle.Layer with(AdapterOracle.Layer layer, double[] weight, double[] bias) {
        return new AdapterOracle.Layer(layer.tokens(), layer.in(), layer.out(), weight, bias);
    }

    // W - s B0 A0 + s B A
    private static AdapterOracle.Layer residual(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] start = AdapterOracle.multiply(get(p, "startB"), get(p, "startA"), OUT, 4, IN);
        double[] now = AdapterOracle.multiply(get(p, "loraB"), get(p, "loraA"), OUT, 4, IN);
        return plus(plus(layer, start, -2), now, 2);
    }

    // W H_0 H_1 ... H_(rank-1)
    private static AdapterOracle.Layer reflected(AdapterOracle.Layer layer, double[] u, int rank) {
        double[] weight = layer.weight();
        for (int k = 0; k < rank; k++) {
            double square = 0;
            for (int i = 0; i < IN; i++) {
                square += u[k * IN + i] * u[k * IN + i];
            }
            double[] reflection = SmallMatrix.identity(IN);
            for (int i = 0; i < IN; i++) {
                for (int j = 0; j < IN; j++) {
                    reflection[i * IN + j] -= 2 * u[k * IN + i] * u[k * IN + j] / square;
                }
            }
            weight = AdapterOracle.multiply(weight, reflection, OUT, IN, IN);
        }
        return with(layer, weight, layer.bias());
    }

    // Gram-Schmidt
    private static double[] orthonormal(double[] u, int rank) {
        double[] q = u.clone();
        for (int k = 0; k < rank; k++) {
            for (int l = 0; l < k; l++) {
                double dot = 0;
                for (int i = 0; i < IN; i++) {
                    dot += q[k * IN + i] * q[l * IN + i];
                }
                for (int i = 0; i < IN; i++) {
                    q[k * IN + i] -= dot * q[l * IN + i];
                }
            }
            double square = 0;
            for (int i = 0; i < IN; i++) {
                square += q[k * IN + i] * q[k * IN + i];
            }
            for (int i = 0; i < IN; i++) {
                q[k * IN + i] /= Math.sqrt(square);
            }
        }
        return q;
    }

    private static AdapterOracle.Layer gatedOutput(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] gate = get(p, "gate");
        double[] weight = layer.weight().clone();
        double[] bias = layer.bias().clone();
        for (int o = 0; o < OUT; o++) {
            bias[o] *= gate[o];
            for (int i = 0; i < IN; i++) {
                weight[o * IN + i] *= gate[o];
            }
        }
        return with(layer, weight, bias);
    }

    private static AdapterOracle.Layer gatedInput(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] gate = get(p, "gate");
        double[] weight = layer.weight().clone();
        for (int e = 0; e < weight.length; e++) {
            weight[e] *= gate[e % IN];
        }
        return with(layer, weight, layer.bias());
    }

    // The map of the outputs as a matrix (OUT, OUT) over W and b.
    private static AdapterOracle.Layer road(AdapterOracle.Layer layer, Map<String, double[]> p, int variant, int size) {
        double[] theta = get(p, "theta");
        double[] alpha = get(p, "alpha");
        double[] map = new double[OUT * OUT];
        for (int o = 0; o < OUT; o++) {
            int group = o / size;
            int place = o % size;
            int pair = place % (size / 2);
            boolean first = place < size / 2;
            int cosine =
                    switch (variant) {
                        case 1 -> group * size / 2 + pair;
                        case 2 -> o;
                        default -> group * 2 * size + place;
                    };
            int sine = variant == 4 ? cosine + size : cosine;
            int partner = group * size + (first ? pair + size / 2 : pair);
            map[o * OUT + o] = alpha[cosine] * Math.cos(theta[cosine]);
            map[o * OUT + partner] = (first ? -1 : 1) * alpha[sine] * Math.sin(theta[sine]);
        }
        double[] weight = AdapterOracle.multiply(map, layer.weight(), OUT, OUT, IN);
        return with(layer, weight, AdapterOracle.multiply(map, layer.bias(), OUT, OUT, 1));
    }

    // x'_n = x_n R_n, so the column blocks of W times R_nᵀ.
    private static AdapterOracle.Layer rotated(
            AdapterOracle.Layer layer, Map<String, double[]> p, int block, boolean neumann) {
        double[] angles = get(p, "rotation");
        int entries = block * (block - 1) / 2;
        double[] map = new double[IN * IN];
        for (int n = 0; n < IN / block; n++) {
            int at = angles.length == entries ? 0 : n * entries;
            double[] q = new double[block * block];
            for (int i = 0; i < block; i++) {
                for (int j = i + 1; j < block; j++) {
                    q[i * block + j] = angles[at];
                    q[j * block + i] = -angles[at];
                    at++;
                }
            }
            double[] r = neumann ? neumann(q, block) : cayley(q, block);
            for (int i = 0; i < block; i++) {
                for (int j = 0; j < block; j++) {
                    map[(n * block + j) * IN + n * block + i] = r[i * block + j];
                }
            }
        }
        // y = (x M) Wᵀ with M block-diagonal, so W' = W Mᵀ
        return with(layer, AdapterOracle.multiply(layer.weight(), map, OUT, IN, IN), layer.bias());
    }

    // I + 2 Q + 2 Q^2 + 2 Q^3 + Q^4
    private static double[] neumann(double[] q, int block) {
        double[] r = SmallMatrix.identity(block);
        double[] power = SmallMatrix.identity(block);
        for (int term = 1; term <= 4; term++) {
            power = AdapterOracle.multiply(power, q, block, block, block);
            r = AdapterOracle.plus(r, power, term == 4 ? 1 : 2);
        }
        return r;
    }

    // (I - Q) (I + Q)⁻¹
    private static double[] cayley(double[] q, int block) {
        double[] identity = SmallMatrix.identity(block);
        double[] inverse = SmallMatrix.inverse(AdapterOracle.plus(identity, q, 1), block);
        return AdapterOracle.multiply(AdapterOracle.plus(identity, q, -1), inverse, block, block, block);
    }

    private static AdapterOracle.Layer summed(AdapterOracle.Layer layer, double[] block, int rank) {
        int columns = block.length / rank;
        double[] weight = layer.weight().clone();
        for (int o = 0; o < OUT; o++) {
            for (int i = 0; i < IN; i++) {
                weight[o * IN + i] += block[i % rank * columns + o % columns];
            }
        }
        return with(layer, weight, layer.bias());
    }

    // W_b D_o + D_o for each 4 x 4 block
    private static AdapterOracle.Layer blockwise(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] d = get(p, "block");
        double[] w = layer.weight();
        double[] weight = w.clone();
        for (int o = 0; o < OUT; o++) {
            int first = o / 4 * 4;
            for (int i = 0; i < IN; i++) {
                int c = i % 4;
                double sum = d[o * 4 + c];
                for (int b = 0; b < 4; b++) {
                    sum += w[o * IN + i - c + b] * d[(first + b) * 4 + c];
                }
                weight[o * IN + i] += sum;
            }
        }
        return with(layer, weight, layer.bias());
    }

    private static AdapterOracle.Layer vera(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] a = get(p, "sharedA").clone();
        double[] b = get(p, "sharedB").clone();
        for (int k = 0; k < 6; k++) {
            for (int i = 0; i < IN; i++) {
                a[k * IN + i] *= get(p, "lambdaD")[k];
            }
            for (int o = 0; o < OUT; o++) {
                b[o * 6 + k] *= get(p, "lambdaB")[o];
            }
        }
        return plus(layer, AdapterOracle.multiply(b, a, OUT, 6, IN), 1);
    }

    private static AdapterOracle.Layer triplets(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] a = get(p, "loraA").clone();
        for (int e = 0; e < a.length; e++) {
            a[e] *= get(p, "loraE")[e / IN];
        }
        return plus(layer, AdapterOracle.multiply(get(p, "loraB"), a, OUT, 5, IN), 10 / (5 + 1e-5));
    }

    private static AdapterOracle.Layer hadamard(AdapterOracle.Layer layer, Map<String, double[]> p) {
        int rank = get(p, "w1b").length / IN;
        double[] first = AdapterOracle.multiply(get(p, "w1a"), get(p, "w1b"), OUT, rank, IN);
        double[] second = AdapterOracle.multiply(get(p, "w2a"), get(p, "w2b"), OUT, rank, IN);
        for (int e = 0; e < first.length; e++) {
            first[e] *= second[e];
        }
        return plus(layer, first, 6.0 / rank);
    }

    // 16 = 4 x 4 outputs, 12 = 3 x 4 inputs: w1 (4, 3), w2 (4, 4), either of them a product of rank `columns`.
    private static AdapterOracle.Layer kronecker(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] w1 = factor(p, "w1", 4, 3);
        double[] w2 = factor(p, "w2", 4, 4);
        double[] change = new double[OUT * IN];
        for (int o = 0; o < OUT; o++) {
            for (int i = 0; i < IN; i++) {
                change[o * IN + i] = w1[o / 4 * 3 + i / 4] * w2[o % 4 * 4 + i % 4];
            }
        }
        return plus(layer, change, 2);
    }

    private static double[] factor(Map<String, double[]> p, String name, int rows, int columns) {
        double[] whole = p.get(name);
        if (whole != null) {
            return whole;
        }
        double[] left = get(p, name + "a");
        return AdapterOracle.multiply(left, get(p, name + "b"), rows, left.length / rows, columns);
    }

    // The output head of a tied embedding.
    private static AdapterOracle.Layer replaced(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] weight = layer.weight().clone();
        System.arraycopy(get(p, "rows"), 0, weight, 3 * IN, IN);
        System.arraycopy(get(p, "rows"), IN, weight, 7 * IN, IN);
        return with(layer, weight, layer.bias());
    }

    // Blocks k = 2, rank 4: dW[j, n] = s sum_{c < 2} A[n, :, 2 j + c] B[j, 2 n + c, :]
    private static AdapterOracle.Layer granular(AdapterOracle.Layer layer, Map<String, double[]> p) {
        double[] a = get(p, "blocksA");
        double[] b = get(p, "blocksB");
        double[] change = new double[OUT * IN];
        for (int o = 0; o < OUT; o++) {
            for (int i = 0; i < IN; i++) {
                int j = o / (OUT / 2);
                int n = i / (IN / 2);
                for (int c = 0; c < 2; c++) {
                    change[o * IN + i] += a[i * 4 + 2 * j + c] * b[(j * 4 + 2 * n + c) * (OUT / 2) + o % (OUT / 2)];
                }
            }
        }
        if (p.containsKey("generalA")) {
            double[] general = AdapterOracle.multiply(get(p, "generalB"), get(p, "generalA"), OUT, 2, IN);
            change = AdapterOracle.plus(change, general, 1);
        }
        return plus(layer, change, 2);
    }
}
