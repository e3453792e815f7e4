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
import org.jspecify.annotations.Nullable;

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
/// Identity at start: exact. The elementwise product of two products of rank r is a product of rank r^2:
///
///     dW = s B' A'        A'[k r + l] = w1b[k] ⊙ w2b[l]        B'[:, k r + l] = w1a[:, k] ⊙ w2a[:, l]
///     dw1b[k] = sum_l dA'[k r + l] ⊙ w2b[l], the other three likewise
///
/// Where r^2 is too large for that to be cheaper, dW is formed, and with G = d(dW), M1 = s G ⊙ (w2a w2b), M2 = s G ⊙
/// (w1a w1b):
///
///     dw1a = M1 w1bᵀ    dw1b = w1aᵀ M1    dw2a = M2 w2bᵀ    dw2b = w2aᵀ M2
///
/// Omitted   rank_dropout and module_dropout in training
/// Source    peft tuners/loha/layer.py
public final class Loha {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("loha", "LOHA", Recipe::read);

    private static final int ROWS_OF_A_UNIT = 64;

    private Loha() {}

    /// The parameters of a layer.
    private record Products(Matrix w1a, Matrix w1b, Matrix w2a, Matrix w2b) {
        static Products allocate(LayerSite site, int rank, Arena arena) {
            int out = site.weight().outFeatures();
            int in = site.weight().inFeatures();
            return new Products(
                    Matrix.allocate(arena, out, rank),
                    Matrix.allocate(arena, rank, in),
                    Matrix.allocate(arena, out, rank),
                    Matrix.allocate(arena, rank, in));
        }

        int rank() {
            return w1b.rows();
        }

        List<AdapterParameter> parameters() {
            return List.of(
                    AdapterParameter.matrix("w1a", "hada_w1_a", Role.OUTPUT_FACTOR, w1a),
                    AdapterParameter.matrix("w1b", "hada_w1_b", Role.INPUT_FACTOR, w1b),
                    AdapterParameter.matrix("w2a", "hada_w2_a", Role.OUTPUT_FACTOR, w2a),
                    AdapterParameter.matrix("w2b", "hada_w2_b", Role.INPUT_FACTOR, w2b));
        }
    }

    /// As a product of rank r^2.
    private static final class LowRank extends FactoredAdapter {
        private final Products products;
        private final Matrix factorA;
        private final Matrix factorB;

        LowRank(LayerSite site, int rank, double alpha, Arena arena) {
            super("loha", site, alpha / rank, 0);
            this.products = Products.allocate(site, rank, arena);
            this.factorA = Matrix.allocate(arena, rank * rank, inFeatures());
            this.factorB = Matrix.allocate(arena, outFeatures(), rank * rank);
        }

        @Override
        public List<AdapterParameter> parameters() {
            return products.parameters();
        }

        @Override
        public void refresh(Compute compute, Weight weight) {
            int rank = products.rank();
            int in = inFeatures();
            compute.team()
                    .run(
                            rank,
                            1,
                            (from, to, worker) -> {
                                float[] first = compute.scratch(worker, 0, in);
                                float[] second = compute.scratch(worker, 1, in);
                                for (int k = from; k < to; k++) {
                                    RowKernels.load(products.w1b, k, first);
                                    for (int l = 0; l < rank; l++) {
                                        RowKernels.load(products.w2b, l, second);
                                        for (int i = 0; i < in; i++) {
                                            second[i] *= first[i];
                                        }
                                        RowKernels.store(second, factorA, k * rank + l);
                                    }
                                }
                            });
            compute.team()
                    .run(
                            outFeatures(),
                            ROWS_OF_A_UNIT,
                            (from, to, worker) -> {
                                float[] first = compute.scratch(worker, 0, rank);
                                float[] second = compute.scratch(worker, 1, rank);
                                float[] product = compute.scratch(worker, 2, rank * rank);
                                for (int o = from; o < to; o++) {
                                    RowKernels.load(products.w1a, o, first);
                                    RowKernels.load(products.w2a, o, second);
                                    for (int k = 0; k < rank; k++) {
                                        for (int l = 0; l < rank; l++) {
                                            product[k * rank + l] = first[k] * second[l];
                                        }
                                    }
                                    RowKernels.store(product, factorB, o);
                                }
                            });
        }

        @Override
        Matrix factorA() {
            return factorA;
        }

        @Override
        Matrix factorB() {
            return factorB;
        }

        @Override
        boolean trainsA() {
            return true;
        }

        @Override
        void chain(Compute compute, @Nullable Matrix gradA, Matrix gradB, List<Matrix> gradients) {
            if (gradA != null) {
                addInputGradient(compute, gradA, true, gradients.get(1));
                addInputGradient(compute, gradA, false, gradients.get(3));
            }
            addOutputGradients(compute, gradB, gradients.get(0), gradients.get(2));
        }

        // target[k] += sum_l dA'[k r + l] ⊙ w2b[l]; of the second, target[l] += sum_k dA'[k r + l] ⊙ w1b[k].
        private void addInputGradient(Compute compute, Matrix gradA, boolean ofFirst, Matrix target) {
            int rank = products.rank();
            int in = inFeatures();
            Matrix others = ofFirst ? products.w2b : products.w1b;
            compute.team()
                    .run(
                            rank,
                            1,
                            (from, to, worker) -> {
                                float[] sum = compute.scratch(worker, 0, in);
                                float[] gradient = compute.scratch(worker, 1, in);
                                float[] other = compute.scratch(worker, 2, in);
                                for (int own = from; own < to; own++) {
                                    RowKernels.load(target, own, sum);
                                    for (int each = 0; each < rank; each++) {
                                        RowKernels.load(others, each, other);
                                        RowKernels.load(
                                                gradA, ofFirst ? own * rank + each : each * rank + own, gradient);
                                        for (int i = 0; i < in; i++) {
                                            sum[i] += gradient[i] * other[i];
                                        }
                                    }
                                    RowKernels.store(sum, target, own);
                                }
                            });
        }

        private void addOutputGradients(Compute compute, Matrix gradB, Matrix gradFirst, Matrix gradSecond) {
            int rank = products.rank();
            compute.team()
                    .run(
                            outFeatures(),
                            ROWS_OF_A_UNIT,
                            (from, to, worker) -> {
                                float[] first = compute.scratch(worker, 0, rank);
                                float[] second = compute.scratch(worker, 1, rank);
                                float[] gradient = compute.scratch(worker, 2, rank * rank);
                                float[] sumFirst = compute.scratch(worker, 3, rank);
                                float[] sumSecond = compute.scratch(worker, 4, rank);
                                for (int o = from; o < to; o++) {
                                    RowKernels.load(products.w1a, o, first);
                                    RowKernels.load(products.w2a, o, second);
                                    RowKernels.load(gradB, o, gradient);
                                    RowKernels.load(gradFirst, o, sumFirst);
                                    RowKernels.load(gradSecond, o, sumSecond);
                                    for (int k = 0; k < rank; k++) {
                                        for (int l = 0; l < rank; l++) {
                                            sumFirst[k] += gradient[k * rank + l] * second[l];
                                            sumSecond[l] += gradient[k * rank + l] * first[k];
                                        }
                                    }
                                    RowKernels.store(sumFirst, gradFirst, o);
                                    RowKernels.store(sumSecond, gradSecond, o);
                                }
                            });
        }
    }

    /// With dW formed.
    private static final class Dense extends DeltaAdapter {
        private final float scaling;
        private final Products products;

        Dense(LayerSite site, int rank, double alpha, Arena arena) {
            super("loha", site, arena);
            this.scaling = (float) (alpha / rank);
            this.products = Products.allocate(site, rank, arena);
        }

        @Override
        public List<AdapterParameter> parameters() {
            return products.parameters();
        }

        @Override
        void form(Compute compute, Weight weight) {
            long mark = compute.workspace().mark();
            Matrix second = compute.workspace().matrix(outFeatures(), inFeatures());
            MatMul.nn(compute, scaling, products.w1a, products.w1b, delta, false);
            MatMul.nn(compute, 1, products.w2a, products.w2b, second, false);
            multiplyInto(compute, second, delta);
            compute.workspace().release(mark);
        }

        @Override
        void chain(Compute compute, Weight weight, Matrix gradDelta, List<Matrix> gradients) {
            Matrix masked = compute.workspace().matrix(outFeatures(), inFeatures());
            MatMul.nn(compute, scaling, products.w2a, products.w2b, masked, false);
            multiplyInto(compute, gradDelta, masked);
            MatMul.nt(compute, 1, masked, products.w1b, gradients.get(0), true);
            MatMul.tn(compute, 1, products.w1a, masked, gradients.get(1), true);
            MatMul.nn(compute, scaling, products.w1a, products.w1b, masked, false);
            multiplyInto(compute, gradDelta, masked);
            MatMul.nt(compute, 1, masked, products.w2b, gradients.get(2), true);
            MatMul.tn(compute, 1, products.w2a, masked, gradients.get(3), true);
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
    }

    /// The configuration.
    record Recipe(
            int rank,
            double alpha,
            boolean zero,
            Map<String, Double> rankPattern,
            Map<String, Double> alphaPattern,
            UndrawnDropouts dropouts)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 8);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            return new Recipe(
                    rank,
                    fields.number("alpha", 8),
                    fields.flag("init_weights", true),
                    fields.pattern("rank_pattern"),
                    fields.pattern("alpha_pattern"),
                    LycorisFields.dropouts(fields));
        }

        @Override
        public @Nullable String untrainable() {
            return dropouts.untrainable();
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
            fields.putAll(LycorisFields.patterns(rankPattern, alphaPattern, dropouts));
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int rankOfSite = (int) ModulePatterns.value(rankPattern, site.name(), rank);
            double alphaOfSite = ModulePatterns.value(alphaPattern, site.name(), alpha);
            long in = site.weight().inFeatures();
            long out = site.weight().outFeatures();
            return (long) rankOfSite * rankOfSite * (in + out) <= in * out
                    ? new LowRank(site, rankOfSite, alphaOfSite, arena)
                    : new Dense(site, rankOfSite, alphaOfSite, arena);
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
