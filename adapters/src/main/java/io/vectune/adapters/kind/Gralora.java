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
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// GraLoRA (Jung et al. 2025, arXiv 2505.20355): the weight in k x k blocks, each with its own low-rank product of rank
/// r/k; optionally a plain LoRA of rank hybrid_r beside them.
///
///     dW[block j of outputs, block n of inputs] = s sum_c A[n, :, j r/k + c] B[j, n r/k + c, :],  c < r/k
///     s = alpha / (r + hybrid_r)
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | blocksA | (k, inFeatures/k, r), rows (k inFeatures/k, r) here | Kaiming over inFeatures/k | gralora_A |
/// | blocksB | (k, r, outFeatures/k), rows (k r, outFeatures/k) here | 0 | gralora_B |
/// | generalA, generalB | (hybrid_r, inFeatures), (outFeatures, hybrid_r) | Kaiming, 0 | gralora_A_general.weight, .. |
///
/// Identity at start: exact. As a low-rank form of width k r + hybrid_r whose factors have zeros outside the blocks:
/// component (n, j, c) reads input block n and writes output block j.
///
/// Source    peft tuners/gralora/layer.py
public final class Gralora extends FactoredAdapter {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("gralora", "GRALORA", Recipe::read);

    private final int blocks;
    private final int rank;
    private final int hybrid;
    private final Matrix blocksA;
    private final Matrix blocksB;
    private final Matrix generalA;
    private final Matrix generalB;
    private final Matrix factorA;
    private final Matrix factorB;

    private Gralora(LayerSite site, Recipe recipe, Arena arena) {
        super("gralora", site, recipe.alpha / (recipe.rank + recipe.hybrid), recipe.dropout);
        this.blocks = recipe.blocks;
        this.rank = recipe.rank;
        this.hybrid = recipe.hybrid;
        this.blocksA = Matrix.allocate(arena, inFeatures(), rank);
        this.blocksB = Matrix.allocate(arena, blocks * rank, outFeatures() / blocks);
        this.generalA = Matrix.allocate(arena, hybrid, inFeatures());
        this.generalB = Matrix.allocate(arena, outFeatures(), hybrid);
        this.factorA = Matrix.allocate(arena, blocks * rank + hybrid, inFeatures());
        this.factorB = Matrix.allocate(arena, outFeatures(), blocks * rank + hybrid);
    }

    @Override
    public List<AdapterParameter> parameters() {
        int in = inFeatures() / blocks;
        int out = outFeatures() / blocks;
        List<AdapterParameter> parameters = new ArrayList<>();
        parameters.add(
                new AdapterParameter(
                        "blocksA", blocksA, true, Role.INPUT_FACTOR, new Stored("gralora_A", false, blocks, in, rank)));
        parameters.add(
                new AdapterParameter(
                        "blocksB",
                        blocksB,
                        true,
                        Role.OUTPUT_FACTOR,
                        new Stored("gralora_B", false, blocks, rank, out)));
        if (hybrid > 0) {
            parameters.add(
                    AdapterParameter.matrix("generalA", "gralora_A_general.weight", Role.INPUT_FACTOR, generalA));
            parameters.add(
                    AdapterParameter.matrix("generalB", "gralora_B_general.weight", Role.OUTPUT_FACTOR, generalB));
        }
        return parameters;
    }

    // Visits every entry of the blocks with its place in the factors.
    private interface Visitor {
        void visit(int row, int column, int factorRow, int factorColumn);
    }

    private void visitA(Visitor visitor) {
        int in = inFeatures() / blocks;
        int part = rank / blocks;
        for (int i = 0; i < inFeatures(); i++) {
            for (int q = 0; q < rank; q++) {
                int component = i / in * rank + q / part * part + q % part;
                visitor.visit(i, q, component, i);
            }
        }
    }

    private void visitB(Visitor visitor) {
        int out = outFeatures() / blocks;
        int part = rank / blocks;
        for (int j = 0; j < blocks; j++) {
            for (int q = 0; q < rank; q++) {
                int component = q / part * rank + j * part + q % part;
                for (int o = 0; o < out; o++) {
                    visitor.visit(j * rank + q, o, j * out + o, component);
                }
            }
        }
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        visitA((row, column, to, at) -> factorA.set(to, at, blocksA.get(row, column)));
        visitB((row, column, to, at) -> factorB.set(to, at, blocksB.get(row, column)));
        if (hybrid > 0) {
            factorA.rows(blocks * rank, blocks * rank + hybrid).copyFrom(generalA);
            factorB.columns(blocks * rank, blocks * rank + hybrid).copyFrom(generalB);
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
        visitB((row, column, from, at) -> add(gradients.get(1), row, column, gradB.get(from, at)));
        if (gradA != null) {
            visitA((row, column, from, at) -> add(gradients.get(0), row, column, gradA.get(from, at)));
            if (hybrid > 0) {
                Matrix tail = gradA.rows(blocks * rank, blocks * rank + hybrid);
                SmallMatrix.add(gradients.get(2), SmallMatrix.doubles(tail), 1);
                Matrix columns = gradB.columns(blocks * rank, blocks * rank + hybrid);
                SmallMatrix.add(gradients.get(3), SmallMatrix.doubles(columns), 1);
            }
        }
    }

    private static void add(Matrix target, int row, int column, float value) {
        target.set(row, column, target.get(row, column) + value);
    }

    /// The configuration.
    record Recipe(int rank, int hybrid, int blocks, double alpha, double dropout, boolean zero)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 32);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            int blocks = fields.positive("gralora_k", 2);
            if (rank % blocks != 0) {
                throw fields.wrong("gralora_k", "a divisor of r=" + rank, blocks);
            }
            int hybrid = fields.integer("hybrid_r", 0);
            if (hybrid < 0) {
                throw fields.wrong("hybrid_r", "0 or more", hybrid);
            }
            return new Recipe(
                    rank,
                    hybrid,
                    blocks,
                    fields.number("alpha", 64),
                    fields.probability("gralora_dropout"),
                    fields.flag("init_weights", true));
        }

        @Override
        public String kind() {
            return "gralora";
        }

        @Override
        public String peftType() {
            return "GRALORA";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("hybrid_r", hybrid);
            fields.put("gralora_k", blocks);
            fields.put("alpha", alpha);
            fields.put("gralora_dropout", dropout);
            fields.put("init_weights", zero);
            fields.put("fan_in_fan_out", false);
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            if (site.weight().inFeatures() % blocks != 0 || site.weight().outFeatures() % blocks != 0) {
                throw new IllegalArgumentException(
                        site.name()
                                + ": gralora_k: expected a divisor of inFeatures="
                                + site.weight().inFeatures()
                                + " and outFeatures="
                                + site.weight().outFeatures()
                                + ", found "
                                + blocks);
            }
            return new Gralora(site, this, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Gralora gralora = (Gralora) adapter;
            double bound = 1 / Math.sqrt((double) site.weight().inFeatures() / blocks);
            initialization.random(site, "blocksA").fillUniform(gralora.blocksA, bound);
            initialization.random(site, "generalA").fillKaiming(gralora.generalA);
            if (!zero) {
                initialization.random(site, "blocksB").fillUniform(gralora.blocksB, 1 / Math.sqrt(rank));
                if (hybrid > 0) {
                    initialization.random(site, "generalB").fillKaiming(gralora.generalB);
                }
            }
        }
    }
}
