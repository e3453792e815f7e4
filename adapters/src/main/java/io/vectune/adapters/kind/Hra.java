package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterParameter.Stored;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.InputMap;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// HRA (Yuan et al. 2024, arXiv 2405.17484): a chain of Householder reflections of the input.
///
///     y = x Rᵀ Wᵀ + b        R = H_0 H_1 ... H_(rank-1),  H_k = I - 2 v_k v_kᵀ,  v_k = u_k / |u_k|
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | u | (rank, inFeatures) | pairs of equal rows, so that reflections cancel | hra_u, (inFeatures, rank) |
///
/// The chain in compact form: with V the unit rows and L = I/2 + strictly lower part of V Vᵀ,
///
///     x' = x - (x Vᵀ) P,  P = L⁻¹ V        forward saves S = x Vᵀ
///
/// P depends on the parameters alone. With g' = gY W:
///
///     gS = -g' Pᵀ    Ls = strictly lower part of L⁻ᵀ Sᵀ gS, negated
///     dV = -L⁻ᵀ (Sᵀ g') + gSᵀ x + (Ls + Lsᵀ) V    du_k = (dv_k - (v_k . dv_k) v_k) / |u_k|    gX = g' + gS V
///
/// With Gram-Schmidt (apply_GS): R = I - 2 Qᵀ Q, Q the orthonormalized rows. With K = (U Uᵀ)⁻¹ U:
///
///     M = (x Kᵀ)ᵀ g' + (g' Kᵀ)ᵀ x    dU = -2 (M - (M Qᵀ) Q)    gX = g' - 2 (g' Qᵀ) Q
///
/// Identity at start: up to rounding (5e-6), as reflections cancel numerically.
/// Merge     W R = W - (W Pᵀ) V: an exact LoRA of the same rank; never an (inFeatures, inFeatures) matrix
/// Deviation Gram-Schmidt on the paired start is refused for new adapters: the second row of a pair vanishes
/// Source    peft tuners/hra/layer.py
public final class Hra extends LayerAdapter implements InputMap, LowRankForm {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("hra", "HRA", Recipe::read);

    private final int rank;
    private final boolean gramSchmidt;
    private final Matrix u;
    // Unit rows V, or orthonormal rows Q; P = L⁻¹ V, or 2 Q.
    private final Matrix unit;
    private final Matrix solved;
    private final double[] length;
    private double[] inverse = new double[0];

    private Hra(LayerSite site, int rank, boolean gramSchmidt, Arena arena) {
        super("hra", site);
        this.rank = rank;
        this.gramSchmidt = gramSchmidt;
        this.u = Matrix.allocate(arena, rank, inFeatures());
        this.unit = Matrix.allocate(arena, rank, inFeatures());
        this.solved = Matrix.allocate(arena, rank, inFeatures());
        this.length = new double[rank];
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                new AdapterParameter("u", u, true, Role.INPUT_FACTOR, new Stored("hra_u", true, inFeatures(), rank)));
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        if (gramSchmidt) {
            orthonormalize();
            return;
        }
        int columns = inFeatures();
        double[] rows = SmallMatrix.doubles(u);
        for (int k = 0; k < rank; k++) {
            double square = 0;
            for (int i = 0; i < columns; i++) {
                square += rows[k * columns + i] * rows[k * columns + i];
            }
            length[k] = Math.sqrt(square);
            for (int i = 0; i < columns && length[k] > 0; i++) {
                rows[k * columns + i] /= length[k];
            }
        }
        SmallMatrix.store(rows, unit);
        double[] lower = new double[rank * rank];
        for (int k = 0; k < rank; k++) {
            lower[k * rank + k] = 0.5;
            for (int l = 0; l < k; l++) {
                double sum = 0;
                for (int i = 0; i < columns; i++) {
                    sum += rows[k * columns + i] * rows[l * columns + i];
                }
                lower[k * rank + l] = sum;
            }
        }
        inverse = SmallMatrix.inverse(lower, rank);
        SmallMatrix.store(SmallMatrix.nn(inverse, rows, rank, rank, columns), solved);
    }

    private void orthonormalize() {
        int columns = inFeatures();
        double[] rows = SmallMatrix.doubles(u);
        inverse = SmallMatrix.inverse(SmallMatrix.nt(u, u), rank);
        for (int k = 0; k < rank; k++) {
            for (int l = 0; l < k; l++) {
                double dot = 0;
                for (int i = 0; i < columns; i++) {
                    dot += rows[k * columns + i] * rows[l * columns + i];
                }
                for (int i = 0; i < columns; i++) {
                    rows[k * columns + i] -= dot * rows[l * columns + i];
                }
            }
            double square = 0;
            for (int i = 0; i < columns; i++) {
                square += rows[k * columns + i] * rows[k * columns + i];
            }
            for (int i = 0; i < columns; i++) {
                rows[k * columns + i] /= Math.sqrt(square);
            }
        }
        SmallMatrix.store(rows, unit);
        for (int i = 0; i < rows.length; i++) {
            rows[i] *= 2;
        }
        SmallMatrix.store(rows, solved);
    }

    @Override
    public long savedFloats(int tokens) {
        return (long) tokens * rank;
    }

    @Override
    public void mapInput(AdapterCall call, Matrix mapped) {
        Compute compute = call.compute();
        long mark = compute.workspace().mark();
        Matrix s = call.savedOrTemporary(0, call.x().rows(), rank);
        MatMul.nt(compute, 1, call.x(), unit, s, false);
        RowKernels.copy(compute, call.x(), mapped);
        MatMul.nn(compute, -1, s, solved, mapped, true);
        compute.workspace().release(mark);
    }

    @Override
    public void backwardInput(AdapterCall call, Matrix gradMapped, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix gradS = workspace.matrix(gradMapped.rows(), rank);
        MatMul.nt(compute, -1, gradMapped, solved, gradS, false);
        if (gramSchmidt) {
            addGramSchmidtGradient(call, gradMapped, gradients.getFirst());
        } else {
            addChainGradient(call, gradMapped, gradS, gradients.getFirst());
        }
        if (gradInput != null) {
            RowKernels.copy(compute, gradMapped, gradInput);
            MatMul.nn(compute, 1, gradS, unit, gradInput, true);
        }
        workspace.release(mark);
    }

    private void addChainGradient(AdapterCall call, Matrix gradMapped, Matrix gradS, Matrix gradU) {
        Compute compute = call.compute();
        Matrix s = call.saved(0, gradMapped.rows(), rank);
        Matrix sg = compute.workspace().matrix(rank, inFeatures());
        MatMul.tn(compute, 1, s, gradMapped, sg, false);
        Matrix gx = compute.workspace().matrix(rank, inFeatures());
        MatMul.tn(compute, 1, gradS, call.x(), gx, false);
        Matrix cross = compute.workspace().matrix(rank, rank);
        MatMul.tn(compute, 1, s, gradS, cross, false);

        int columns = inFeatures();
        double[] inverseT = SmallMatrix.transpose(inverse, rank, rank);
        double[] gradLower = SmallMatrix.nn(inverseT, SmallMatrix.doubles(cross), rank, rank, rank);
        double[] symmetric = new double[rank * rank];
        for (int k = 0; k < rank; k++) {
            for (int l = 0; l < k; l++) {
                symmetric[k * rank + l] = -gradLower[k * rank + l];
                symmetric[l * rank + k] = -gradLower[k * rank + l];
            }
        }
        // dV = -L⁻ᵀ (Sᵀ g') + gSᵀ x + (Ls + Lsᵀ) V
        double[] v = SmallMatrix.doubles(unit);
        double[] gradV = SmallMatrix.nn(symmetric, v, rank, rank, columns);
        double[] solvedSg = SmallMatrix.nn(inverseT, SmallMatrix.doubles(sg), rank, rank, columns);
        float[] direct = gx.toArray();
        for (int k = 0; k < rank; k++) {
            double along = 0;
            for (int i = k * columns; i < (k + 1) * columns; i++) {
                gradV[i] += direct[i] - solvedSg[i];
                along += gradV[i] * v[i];
            }
            for (int i = 0; i < columns && length[k] > 0; i++) {
                double value = (gradV[k * columns + i] - along * v[k * columns + i]) / length[k];
                gradU.set(k, i, (float) (gradU.get(k, i) + value));
            }
        }
    }

    private void addGramSchmidtGradient(AdapterCall call, Matrix gradMapped, Matrix gradU) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        int tokens = gradMapped.rows();
        int columns = inFeatures();
        Matrix k = workspace.matrix(rank, columns);
        SmallMatrix.store(SmallMatrix.nn(inverse, SmallMatrix.doubles(u), rank, rank, columns), k);
        Matrix projected = workspace.matrix(tokens, rank);
        Matrix m = workspace.matrix(rank, columns);
        MatMul.nt(compute, 1, call.x(), k, projected, false);
        MatMul.tn(compute, 1, projected, gradMapped, m, false);
        MatMul.nt(compute, 1, gradMapped, k, projected, false);
        MatMul.tn(compute, 1, projected, call.x(), m, true);
        Matrix along = workspace.matrix(rank, rank);
        MatMul.nt(compute, 1, m, unit, along, false);
        MatMul.nn(compute, 2, along, unit, gradU, true);
        RowKernels.addScaled(compute, gradU, m, -2);
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        long mark = compute.workspace().mark();
        Matrix product = compute.workspace().matrix(rank, outFeatures());
        MatMul.multiply(compute, weight, solved, product, false);
        MatMul.tn(compute, -1, product, unit, merged, true);
        compute.workspace().release(mark);
    }

    @Override
    public Factors lowRank(Compute compute) {
        Matrix product = Matrix.allocate(Arena.ofAuto(), rank, outFeatures());
        MatMul.multiply(compute, site.weight(), solved, product, false);
        Matrix b = Matrix.allocate(Arena.ofAuto(), outFeatures(), rank);
        for (int o = 0; o < outFeatures(); o++) {
            for (int k = 0; k < rank; k++) {
                b.set(o, k, product.get(k, o));
            }
        }
        return new Factors(unit, b, -1);
    }

    /// |I - U Uᵀ|^2, the orthogonality penalty of the paper: gradient 4 (U Uᵀ - I) U.
    @Override
    public double regularize(Compute compute, float factor, List<Matrix> gradients) {
        double[] gram = SmallMatrix.nt(u, u);
        double value = 0;
        for (int k = 0; k < rank; k++) {
            gram[k * rank + k] -= 1;
        }
        for (double entry : gram) {
            value += entry * entry;
        }
        double[] gradient = SmallMatrix.nn(gram, SmallMatrix.doubles(u), rank, rank, inFeatures());
        SmallMatrix.add(gradients.getFirst(), gradient, 4 * factor);
        return value;
    }

    /// The configuration.
    ///
    /// @param orthogonality factor of the paper's penalty in the loss; PEFT has none
    record Recipe(int rank, boolean gramSchmidt, boolean paired, double orthogonality) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 8);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            double orthogonality = fields.number("orth_reg_weight", 0);
            if (!(orthogonality >= 0)) {
                throw fields.wrong("orth_reg_weight", "at least 0", orthogonality);
            }
            return new Recipe(rank, fields.flag("apply_GS", false), fields.flag("init_weights", true), orthogonality);
        }

        @Override
        public String kind() {
            return "hra";
        }

        @Override
        public String peftType() {
            return "HRA";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("apply_GS", gramSchmidt);
            fields.put("init_weights", paired);
            if (orthogonality != 0) {
                fields.put("orth_reg_weight", orthogonality);
            }
            return fields;
        }

        @Override
        public double penaltyFactor(int layers) {
            return orthogonality;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int rankOfSite = shapes.size("hra_u", 1, rank);
            if (rankOfSite > site.weight().inFeatures()) {
                throw new IllegalArgumentException(
                        site.name()
                                + ": r: expected at most inFeatures="
                                + site.weight().inFeatures()
                                + ", found "
                                + rankOfSite);
            }
            return new Hra(site, rankOfSite, gramSchmidt, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Matrix u = ((Hra) adapter).u;
            if (!paired) {
                // torch's fan-in of (inFeatures, rank) is the rank
                initialization.random(site, "u").fillUniform(u, 1 / Math.sqrt(rank));
                return;
            }
            if (rank % 2 != 0) {
                throw new IllegalArgumentException(
                        "HRA needs an even rank so that paired reflections cancel at the start; r="
                                + rank
                                + ", use "
                                + (rank - 1)
                                + " or "
                                + (rank + 1));
            }
            if (gramSchmidt) {
                throw new IllegalArgumentException(
                        "HRA with apply_GS cannot start from paired rows, they are linearly dependent; add"
                                + " init_weights=false");
            }
            Matrix half = Matrix.allocate(Arena.ofAuto(), rank / 2, u.columns());
            initialization.random(site, "u").fillUniform(half, 1 / Math.sqrt(rank / 2.0));
            for (int k = 0; k < rank; k++) {
                u.rows(k, k + 1).copyFrom(half.rows(k / 2, k / 2 + 1));
            }
        }
    }
}
