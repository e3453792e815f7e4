package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StepRule;
import io.vectune.adapters.StoredShapes;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// AdaLoRA (Zhang et al. 2023, arXiv 2303.10512): triplets with a size of their own, pruned to a budget of ranks.
///
///     y = x Wᵀ + b + s ((x Aᵀ) ⊙ E) Bᵀ        s = alpha / (initial rank + 1e-5)
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | loraA | (rank, inFeatures) | N(0, 0.02) | lora_A |
/// | loraE | (rank) | 0 | lora_E, (rank, 1) |
/// | loraB | (outFeatures, rank) | N(0, 0.02) | lora_B |
///
/// Identity at start: exact, as E = 0. As a low-rank form A' = E ⊙ A (rows):
///
///     dA_k = E_k dA'_k        dE_k = A_k . dA'_k        dB = dB'
///
/// [#regularize] is the orthogonality term |A Aᵀ - I| + |Bᵀ B - I| (Frobenius, not squared, as in PEFT). Which triplets
/// stay is the work of an [AdaLoraAllocator] beside the optimizer.
///
/// Deviation PEFT keeps the divisor as a parameter on bases that are not f32, and optimizers change it; here it is fixed
/// Source    peft tuners/adalora/layer.py
public final class AdaLora extends FactoredAdapter {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("adalora", "ADALORA", Recipe::read);

    private final Matrix loraA;
    private final Matrix loraB;
    private final Matrix loraE;
    private final Matrix factorA;

    private AdaLora(LayerSite site, int rank, Recipe recipe, Arena arena) {
        super("adalora", site, recipe.alpha / (recipe.initialRank + 1e-5), recipe.dropout);
        this.loraA = Matrix.allocate(arena, rank, inFeatures());
        this.loraB = Matrix.allocate(arena, outFeatures(), rank);
        this.loraE = Matrix.allocate(arena, 1, rank);
        this.factorA = Matrix.allocate(arena, rank, inFeatures());
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                AdapterParameter.matrix("loraA", "lora_A", Role.INPUT_FACTOR, loraA),
                AdapterParameter.matrix("loraB", "lora_B", Role.OUTPUT_FACTOR, loraB),
                new AdapterParameter(
                        "loraE",
                        loraE,
                        true,
                        Role.SCALE,
                        new AdapterParameter.Stored("lora_E", false, loraE.columns(), 1)));
    }

    /// The sizes E (1, rank), live: an allocator sets pruned ones to 0.
    public Matrix loraE() {
        return loraE;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        for (int k = 0; k < loraA.rows(); k++) {
            for (int i = 0; i < inFeatures(); i++) {
                factorA.set(k, i, loraE.get(0, k) * loraA.get(k, i));
            }
        }
    }

    @Override
    Matrix factorA() {
        return factorA;
    }

    @Override
    Matrix factorB() {
        return loraB;
    }

    @Override
    boolean trainsA() {
        return true;
    }

    @Override
    void chain(Compute compute, @Nullable Matrix gradA, Matrix gradB, List<Matrix> gradients) {
        SmallMatrix.add(gradients.get(1), SmallMatrix.doubles(gradB), 1);
        if (gradA == null) {
            return;
        }
        for (int k = 0; k < loraA.rows(); k++) {
            double sum = gradients.get(2).get(0, k);
            for (int i = 0; i < inFeatures(); i++) {
                float value = gradA.get(k, i);
                sum += (double) value * loraA.get(k, i);
                gradients.get(0).set(k, i, gradients.get(0).get(k, i) + loraE.get(0, k) * value);
            }
            gradients.get(2).set(0, k, (float) sum);
        }
    }

    @Override
    public double regularize(Compute compute, float factor, List<Matrix> gradients) {
        double value = 0;
        int rank = loraA.rows();
        double[] ofA = SmallMatrix.nt(loraA, loraA);
        value += subtractIdentity(ofA, rank);
        double[] gradA = SmallMatrix.nn(ofA, SmallMatrix.doubles(loraA), rank, rank, inFeatures());
        double normA = norm(ofA);
        if (normA > 0) {
            SmallMatrix.add(gradients.get(0), gradA, 2 * factor / normA);
        }
        double[] b = SmallMatrix.doubles(loraB);
        double[] ofB = SmallMatrix.nn(SmallMatrix.transpose(b, outFeatures(), rank), b, rank, outFeatures(), rank);
        value += subtractIdentity(ofB, rank);
        double normB = norm(ofB);
        if (normB > 0) {
            double[] gradB = SmallMatrix.nn(b, ofB, outFeatures(), rank, rank);
            SmallMatrix.add(gradients.get(1), gradB, 2 * factor / normB);
        }
        return value;
    }

    private static double subtractIdentity(double[] gram, int rank) {
        for (int k = 0; k < rank; k++) {
            gram[k * rank + k] -= 1;
        }
        return norm(gram);
    }

    private static double norm(double[] values) {
        double sum = 0;
        for (double value : values) {
            sum += value * value;
        }
        return Math.sqrt(sum);
    }

    /// The configuration.
    ///
    /// @param schedule what an allocator needs
    record Recipe(
            int initialRank, double alpha, double dropout, double orthogonality, AdaLoraAllocator.Schedule schedule)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            fields.ignore("r", "rank_pattern", "alpha_pattern", "megatron_core", "qalora_group_size", "loftq_config");
            fields.ignore("init_lora_weights");
            int initial = fields.positive("init_r", 12);
            int target = fields.positive("target_r", 8);
            AdaLoraAllocator.Schedule schedule =
                    new AdaLoraAllocator.Schedule(
                            target,
                            fields.integer("tinit", 0),
                            fields.integer("tfinal", 0),
                            fields.positive("deltaT", 1),
                            fields.integer("total_step", 0),
                            fields.number("beta1", 0.85),
                            fields.number("beta2", 0.85));
            return new Recipe(
                    initial,
                    fields.number("lora_alpha", 8),
                    fields.probability("lora_dropout"),
                    fields.number("orth_reg_weight", 0.5),
                    schedule);
        }

        @Override
        public String kind() {
            return "adalora";
        }

        @Override
        public String peftType() {
            return "ADALORA";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("init_r", initialRank);
            fields.put("target_r", schedule.targetRank());
            fields.put("lora_alpha", alpha);
            fields.put("lora_dropout", dropout);
            fields.put("orth_reg_weight", orthogonality);
            fields.put("tinit", schedule.warmupSteps());
            fields.put("tfinal", schedule.finalSteps());
            fields.put("deltaT", schedule.interval());
            fields.put("total_step", schedule.totalSteps());
            fields.put("beta1", schedule.beta1());
            fields.put("beta2", schedule.beta2());
            fields.put("fan_in_fan_out", false);
            return fields;
        }

        // PEFT averages the terms of all matrices, two a layer.
        @Override
        public double penaltyFactor(int layers) {
            return orthogonality / (2.0 * layers);
        }

        @Override
        public StepRule stepRule(List<Adapter> adapters) {
            return new AdaLoraAllocator(schedule, adapters);
        }

        @Override
        public int rankOf(LayerSite site) {
            return initialRank;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new AdaLora(site, shapes.size("lora_A", 0, initialRank), this, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            AdaLora adaLora = (AdaLora) adapter;
            initialization.random(site, "loraA").fillNormal(adaLora.loraA, 0, 0.02);
            initialization.random(site, "loraB").fillNormal(adaLora.loraB, 0, 0.02);
        }
    }
}
