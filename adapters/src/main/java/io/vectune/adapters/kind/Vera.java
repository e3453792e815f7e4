package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// VeRA (Kopiczko et al. 2023, arXiv 2310.11454): one pair of random matrices for all layers, two trained vectors each.
///
///     y = x Wᵀ + b + lambdaB ⊙ ((lambdaD ⊙ (x Aᵀ)) Bᵀ)
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | lambdaB | (outFeatures) | 0 | vera_lambda_b |
/// | lambdaD | (rank) | 0.1 | vera_lambda_d |
/// | sharedA, frozen | (rank, largest inFeatures), a layer uses its first columns | Kaiming | base_model.vera_A |
/// | sharedB, frozen | (largest outFeatures, rank), a layer uses its first rows | Kaiming | base_model.vera_B |
///
/// Identity at start: exact. As a low-rank form A' = lambdaD ⊙ A (rows), B' = lambdaB ⊙ B (rows):
///
///     dlambdaD_k = A_k . dA'_k        dlambdaB_o = B_o . dB'_o
///
/// Deviation files without the projections (save_projection = false) are refused: they would need torch's generator
/// Source    peft tuners/vera/layer.py
public final class Vera extends FactoredAdapter {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("vera", "VERA", Recipe::read);

    private final Matrix sharedA;
    private final Matrix sharedB;
    private final Matrix lambdaB;
    private final Matrix lambdaD;
    private final Matrix factorA;
    private final Matrix factorB;

    private Vera(LayerSite site, Matrix sharedA, Matrix sharedB, double dropout, Arena arena) {
        super("vera", site, 1, dropout);
        this.sharedA = sharedA;
        this.sharedB = sharedB;
        int rank = sharedA.rows();
        this.lambdaB = Matrix.allocate(arena, 1, outFeatures());
        this.lambdaD = Matrix.allocate(arena, 1, rank);
        this.factorA = Matrix.allocate(arena, rank, inFeatures());
        this.factorB = Matrix.allocate(arena, outFeatures(), rank);
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                AdapterParameter.vector("lambdaB", "vera_lambda_b", Role.SCALE, lambdaB),
                AdapterParameter.vector("lambdaD", "vera_lambda_d", Role.SCALE, lambdaD),
                shared("sharedA", "vera_A", sharedA),
                shared("sharedB", "vera_B", sharedB));
    }

    private static AdapterParameter shared(String name, String key, Matrix values) {
        Stored stored = new Stored(Stored.SHARED + key, false, values.rows(), values.columns());
        return new AdapterParameter(name, values, false, Role.INPUT_FACTOR, stored);
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        for (int k = 0; k < factorA.rows(); k++) {
            for (int i = 0; i < inFeatures(); i++) {
                factorA.set(k, i, lambdaD.get(0, k) * sharedA.get(k, i));
            }
            for (int o = 0; o < outFeatures(); o++) {
                factorB.set(o, k, lambdaB.get(0, o) * sharedB.get(o, k));
            }
        }
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
        Matrix gradLambdaB = gradients.get(0);
        Matrix gradLambdaD = gradients.get(1);
        for (int o = 0; o < outFeatures(); o++) {
            double sum = gradLambdaB.get(0, o);
            for (int k = 0; k < factorA.rows(); k++) {
                sum += (double) gradB.get(o, k) * sharedB.get(o, k);
            }
            gradLambdaB.set(0, o, (float) sum);
        }
        for (int k = 0; gradA != null && k < factorA.rows(); k++) {
            double sum = gradLambdaD.get(0, k);
            for (int i = 0; i < inFeatures(); i++) {
                sum += (double) gradA.get(k, i) * sharedA.get(k, i);
            }
            gradLambdaD.set(0, k, (float) sum);
        }
    }

    /// The configuration, before it knows the layers.
    ///
    /// @param key seed of the shared matrices of a new adapter
    record Recipe(int rank, double start, double dropout, int key) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 256);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            if (!fields.flag("save_projection", true)) {
                throw fields.wrong(
                        "save_projection", "true, the projections cannot be made again without torch", false);
            }
            fields.flag("init_weights", true);
            return new Recipe(
                    rank,
                    fields.number("d_initial", 0.1),
                    fields.probability("vera_dropout"),
                    fields.integer("projection_prng_key", 0));
        }

        @Override
        public String kind() {
            return "vera";
        }

        @Override
        public String peftType() {
            return "VERA";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("d_initial", start);
            fields.put("vera_dropout", dropout);
            fields.put("projection_prng_key", key);
            fields.put("save_projection", true);
            fields.put("init_weights", true);
            fields.put("fan_in_fan_out", false);
            return fields;
        }

        @Override
        public AdapterRecipe forLayers(List<LayerSite> targets, Arena arena) {
            int in = targets.stream().mapToInt(site -> site.weight().inFeatures()).max().orElse(0);
            int out = targets.stream().mapToInt(site -> site.weight().outFeatures()).max().orElse(0);
            return new Bound(this, Matrix.allocate(arena, rank, in), Matrix.allocate(arena, out, rank));
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return forLayers(List.of(site), arena).create(site, arena, shapes);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Vera vera = (Vera) adapter;
            vera.lambdaD.fill((float) start);
            SplitMix.of(key, "vera_A").fillKaiming(vera.sharedA);
            SplitMix.of(key, "vera_B").fillKaiming(vera.sharedB);
        }
    }

    /// The configuration with the matrices that its layers share.
    private record Bound(Recipe recipe, Matrix sharedA, Matrix sharedB) implements AdapterRecipe {
        @Override
        public String kind() {
            return recipe.kind();
        }

        @Override
        public String peftType() {
            return recipe.peftType();
        }

        @Override
        public Map<String, Object> fields() {
            return recipe.fields();
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new Vera(site, sharedA, sharedB, recipe.dropout(), arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            recipe.initialize(adapter, site, initialization);
        }
    }
}
