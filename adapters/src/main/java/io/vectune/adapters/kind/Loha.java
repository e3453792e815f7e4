package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// LoHa (Hyeon-Woo et al. 2021, FedPara, arXiv 2108.06098): the elementwise product of two low-rank products.
///
///     dW = s (w1a w1b) ⊙ (w2a w2b)        s = alpha / rank
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | w1a, w2a | (outFeatures, rank) | Kaiming-uniform | hada_w1_a, hada_w2_a |
/// | w1b | (rank, inFeatures) | Kaiming-uniform | hada_w1_b |
/// | w2b | (rank, inFeatures) | 0 | hada_w2_b |
///
/// Identity at start: exact. With G = d(dW), M1 = s G ⊙ (w2a w2b), M2 = s G ⊙ (w1a w1b):
///
///     dw1a = M1 w1bᵀ    dw1b = w1aᵀ M1    dw2a = M2 w2bᵀ    dw2b = w2aᵀ M2
///
/// Omitted   rank_dropout and module_dropout
/// Source    peft tuners/loha/layer.py
public final class Loha extends DeltaAdapter {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("loha", "LOHA", Recipe::read);

    private final float scaling;
    private final Matrix w1a;
    private final Matrix w1b;
    private final Matrix w2a;
    private final Matrix w2b;

    private Loha(LayerSite site, int rank, double alpha, Arena arena) {
        super("loha", site, arena);
        this.scaling = (float) (alpha / rank);
        this.w1a = Matrix.allocate(arena, outFeatures(), rank);
        this.w1b = Matrix.allocate(arena, rank, inFeatures());
        this.w2a = Matrix.allocate(arena, outFeatures(), rank);
        this.w2b = Matrix.allocate(arena, rank, inFeatures());
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                AdapterParameter.matrix("w1a", "hada_w1_a", Role.OUTPUT_FACTOR, w1a),
                AdapterParameter.matrix("w1b", "hada_w1_b", Role.INPUT_FACTOR, w1b),
                AdapterParameter.matrix("w2a", "hada_w2_a", Role.OUTPUT_FACTOR, w2a),
                AdapterParameter.matrix("w2b", "hada_w2_b", Role.INPUT_FACTOR, w2b));
    }

    @Override
    void form(Compute compute, Weight weight) {
        long mark = compute.workspace().mark();
        Matrix second = compute.workspace().matrix(outFeatures(), inFeatures());
        MatMul.nn(compute, scaling, w1a, w1b, delta, false);
        MatMul.nn(compute, 1, w2a, w2b, second, false);
        multiplyInto(compute, second, delta);
        compute.workspace().release(mark);
    }

    @Override
    void chain(Compute compute, Weight weight, Matrix gradDelta, List<Matrix> gradients) {
        Matrix masked = compute.workspace().matrix(outFeatures(), inFeatures());
        MatMul.nn(compute, scaling, w2a, w2b, masked, false);
        multiplyInto(compute, gradDelta, masked);
        MatMul.nt(compute, 1, masked, w1b, gradients.get(0), true);
        MatMul.tn(compute, 1, w1a, masked, gradients.get(1), true);
        MatMul.nn(compute, scaling, w1a, w1b, masked, false);
        multiplyInto(compute, gradDelta, masked);
        MatMul.nt(compute, 1, masked, w2b, gradients.get(2), true);
        MatMul.tn(compute, 1, w2a, masked, gradients.get(3), true);
    }

    private static void multiplyInto(Compute compute, Matrix source, Matrix target) {
        RowKernels.eachRowInto(
                compute,
                source,
                target,
                (from, to, columns) -> {
                    for (int i = 0; i < columns; i++) {
                        to[i] *= from[i];
                    }
                });
    }

    /// The configuration.
    record Recipe(
            int rank, double alpha, boolean zero, Map<String, Double> rankPattern, Map<String, Double> alphaPattern)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 8);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            LycorisFields.refuseDropout(fields);
            return new Recipe(
                    rank,
                    fields.number("alpha", 8),
                    fields.flag("init_weights", true),
                    fields.pattern("rank_pattern"),
                    fields.pattern("alpha_pattern"));
        }

        @Override
        public String kind() {
            return "loha";
        }

        @Override
        public String peftType() {
            return "LOHA";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("alpha", alpha);
            fields.put("init_weights", zero);
            fields.putAll(LycorisFields.patterns(rankPattern, alphaPattern));
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int rankOfSite = (int) ModulePatterns.value(rankPattern, site.name(), rank);
            int stored = shapes.size("hada_w1_b", 0, rankOfSite);
            return new Loha(site, stored, ModulePatterns.value(alphaPattern, site.name(), alpha), arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            for (AdapterParameter parameter : adapter.parameters()) {
                if (!zero || !parameter.name().equals("w2b")) {
                    initialization.random(site, parameter.name()).fillKaiming(parameter.values());
                }
            }
        }
    }
}
