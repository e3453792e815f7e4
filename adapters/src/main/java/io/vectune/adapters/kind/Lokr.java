package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// LoKr (Yeh et al. 2023, LyCORIS, arXiv 2309.14859): a Kronecker product, its factors full or low-rank.
///
///     dW = s w1 ⊗ w2        dW[a m + c, b n + d] = s w1[a, b] w2[c, d]        s = alpha / rank
///
/// outFeatures = p m and inFeatures = q n with factors near the square root (or given by decompose_factor); w1 (p, q),
/// w2 (m, n), or w2 = w2a (m, k) w2b (k, n).
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | w1, or w1a w1b with decompose_both and a small rank | (p, q); (p, rank), (rank, q) | 0; 0, Kaiming | lokr_w1 .. |
/// | w2, or w2a w2b with a small rank | (m, n); (m, rank), (rank, n) | Kaiming | lokr_w2 .. |
///
/// Identity at start: exact. dW is never formed but to merge: with the column blocks of x below each other, X (q tokens,
/// n), and L = w2a, R = w2b, or L = w2, R = 1, seen as (rows, tokens k) or (rows tokens, k) as the product needs it,
///
///     H = X Rᵀ          M = s w1 H           y_a += M_a Lᵀ      a = 0 .. p-1, the column blocks of y
///     gM = gY_a L       dL = gY_aᵀ M_a       dw1 = s gM Hᵀ      gH = s w1ᵀ gM      dR = gHᵀ X      gX_b = gH_b R
///
/// Cost      2 tokens (inFeatures k + p q k + outFeatures k) flop forward, about twice that backward
/// Omitted   rank_dropout and module_dropout in training
/// Source    peft tuners/lokr/layer.py
public final class Lokr extends LayerAdapter implements ProductMap {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("lokr", "LOKR", Recipe::read);

    private final float scaling;
    private final Factor first;
    private final Factor second;

    // w1, current since the last refresh.
    private final Matrix w1;

    private Lokr(LayerSite site, double scaling, Factor first, Factor second, Arena arena) {
        super("lokr", site);
        this.scaling = (float) scaling;
        this.first = first;
        this.second = second;
        this.w1 = first.isFull() ? first.left() : Matrix.allocate(arena, first.rows, first.columns);
    }

    /// One side of the Kronecker product: one matrix, or the product of two.
    private record Factor(String name, int rows, int columns, List<Matrix> matrices) {
        static Factor allocate(String name, int rows, int columns, int rank, boolean full, Arena arena) {
            List<Matrix> matrices =
                    full
                            ? List.of(Matrix.allocate(arena, rows, columns))
                            : List.of(Matrix.allocate(arena, rows, rank), Matrix.allocate(arena, rank, columns));
            return new Factor(name, rows, columns, matrices);
        }

        boolean isFull() {
            return matrices.size() == 1;
        }

        Matrix left() {
            return matrices.getFirst();
        }

        /// The right one of two.
        Matrix right() {
            return matrices.getLast();
        }

        /// Its value, in memory of the workspace if it is a product.
        Matrix value(Compute compute) {
            if (isFull()) {
                return left();
            }
            Matrix value = compute.workspace().matrix(rows, columns);
            MatMul.nn(compute, 1, left(), right(), value, false);
            return value;
        }

        List<AdapterParameter> parameters(Role role) {
            if (isFull()) {
                return List.of(AdapterParameter.matrix(name, "lokr_" + name, role, left()));
            }
            return List.of(
                    AdapterParameter.matrix(name + "a", "lokr_" + name + "_a", role, left()),
                    AdapterParameter.matrix(name + "b", "lokr_" + name + "_b", role, right()));
        }
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>(first.parameters(Role.OUTPUT_FACTOR));
        parameters.addAll(second.parameters(Role.INPUT_FACTOR));
        return parameters;
    }

    @Override
    public Form form() {
        return Form.ADDS;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        if (!first.isFull()) {
            MatMul.nn(compute, 1, first.left(), first.right(), w1, false);
        }
    }

    @Override
    public long savedFloats(int tokens) {
        return 0;
    }

    // The same memory with other rows.
    private static Matrix seen(Matrix matrix, int rows) {
        int columns = Math.toIntExact((long) matrix.rows() * matrix.columns() / rows);
        return Matrix.of(matrix.segment(), matrix.offset(), rows, columns, columns);
    }

    private Matrix stackedInput(Compute compute, Matrix x) {
        Matrix stacked = compute.workspace().matrix(w1.columns() * x.rows(), second.columns);
        RowKernels.stackBlocks(compute, x, stacked);
        return stacked;
    }

    // H, as (q tokens, k).
    private Matrix inner(Compute compute, Matrix stacked) {
        if (second.isFull()) {
            return stacked;
        }
        Matrix inner = compute.workspace().matrix(stacked.rows(), second.left().columns());
        MatMul.nt(compute, 1, stacked, second.right(), inner, false);
        return inner;
    }

    // M, as (p tokens, k).
    private Matrix mixed(Compute compute, Matrix inner, int tokens) {
        Matrix mixed = compute.workspace().matrix(w1.rows() * tokens, inner.columns());
        MatMul.nn(compute, scaling, w1, seen(inner, w1.columns()), seen(mixed, w1.rows()), false);
        return mixed;
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        Compute compute = call.compute();
        long mark = compute.workspace().mark();
        Matrix mixed = mixed(compute, inner(compute, stackedInput(compute, call.x())), y.rows());
        Matrix blocks = compute.workspace().matrix(mixed.rows(), second.rows);
        MatMul.nt(compute, 1, mixed, second.left(), blocks, false);
        RowKernels.unstackBlocks(compute, blocks, y, true);
        RowKernels.addRow(compute, y, call.bias());
        compute.workspace().release(mark);
    }

    @Override
    public void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients) {
        Compute compute = call.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int tokens = gradOutput.rows();
        Matrix stacked = stackedInput(compute, call.x());
        Matrix inner = inner(compute, stacked);
        Matrix mixed = mixed(compute, inner, tokens);
        Matrix gradBlocks = workspace.matrix(mixed.rows(), second.rows);
        RowKernels.stackBlocks(compute, gradOutput, gradBlocks);

        int split = first.matrices.size();
        MatMul.tn(compute, 1, gradBlocks, mixed, gradients.get(split), true);
        Matrix gradMixed = workspace.matrix(mixed.rows(), mixed.columns());
        MatMul.nn(compute, 1, gradBlocks, second.left(), gradMixed, false);
        Matrix gradRows = seen(gradMixed, w1.rows());
        addFirstGradient(compute, gradRows, seen(inner, w1.columns()), gradients.subList(0, split));
        Matrix gradInner = workspace.matrix(inner.rows(), inner.columns());
        MatMul.tn(compute, scaling, w1, gradRows, seen(gradInner, w1.columns()), false);
        Matrix gradStacked = gradInner;
        if (!second.isFull()) {
            MatMul.tn(compute, 1, gradInner, stacked, gradients.getLast(), true);
            gradStacked = stacked;
        }
        if (gradInput != null) {
            if (!second.isFull()) {
                MatMul.nn(compute, 1, gradInner, second.right(), gradStacked, false);
            }
            Matrix part = gradInput.part();
            RowKernels.unstackBlocks(compute, gradStacked, part, false);
            gradInput.add(part);
        }
        workspace.release(mark);
    }

    // dw1 = s gM Hᵀ, and to its two factors.
    private void addFirstGradient(Compute compute, Matrix gradMixed, Matrix inner, List<Matrix> targets) {
        if (first.isFull()) {
            MatMul.nt(compute, scaling, gradMixed, inner, targets.getFirst(), true);
            return;
        }
        Matrix gradient = compute.workspace().matrix(first.rows, first.columns);
        MatMul.nt(compute, scaling, gradMixed, inner, gradient, false);
        MatMul.nt(compute, 1, gradient, first.right(), targets.getFirst(), true);
        MatMul.tn(compute, 1, first.left(), gradient, targets.getLast(), true);
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        long mark = compute.workspace().mark();
        Matrix w2 = second.value(compute);
        for (int a = 0; a < w1.rows(); a++) {
            for (int b = 0; b < w1.columns(); b++) {
                Matrix block =
                        merged.rows(a * w2.rows(), (a + 1) * w2.rows())
                                .columns(b * w2.columns(), (b + 1) * w2.columns());
                RowKernels.addScaled(compute, block, w2, scaling * w1.get(a, b));
            }
        }
        compute.workspace().release(mark);
    }

    /// Two factors m <= n of a size: near its square root, or the wanted divisor first.
    static int[] factors(int size, int wanted) {
        if (wanted > 0 && size % wanted == 0) {
            return new int[] {wanted, size / wanted};
        }
        int limit = wanted == -1 ? size : wanted;
        int m = 1;
        int n = size;
        int length = m + n;
        while (m < n) {
            int next = m + 1;
            while (size % next != 0) {
                next++;
            }
            int other = size / next;
            if (next + other > length || next > limit) {
                break;
            }
            m = next;
            n = other;
        }
        return m > n ? new int[] {n, m} : new int[] {m, n};
    }

    /// The configuration.
    record Recipe(
            int rank,
            double alpha,
            boolean both,
            int factor,
            Object start,
            Map<String, Double> rankPattern,
            Map<String, Double> alphaPattern,
            boolean scaledDropout,
            UndrawnDropouts dropouts)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 8);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            Object start = fields.raw("init_weights");
            if (start != null && !(start instanceof Boolean) && !"lycoris".equals(start)) {
                throw fields.wrong("init_weights", "true, false or lycoris", start);
            }
            return new Recipe(
                    rank,
                    fields.number("alpha", 8),
                    fields.flag("decompose_both", false),
                    fields.integer("decompose_factor", -1),
                    start == null ? true : start,
                    fields.pattern("rank_pattern"),
                    fields.pattern("alpha_pattern"),
                    fields.flag("rank_dropout_scale", false),
                    LycorisFields.dropouts(fields));
        }

        @Override
        public @Nullable String untrainable() {
            return dropouts.untrainable();
        }

        @Override
        public String kind() {
            return "lokr";
        }

        @Override
        public String peftType() {
            return "LOKR";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("alpha", alpha);
            fields.put("decompose_both", both);
            fields.put("decompose_factor", factor);
            fields.put("init_weights", start);
            fields.put("rank_dropout_scale", scaledDropout);
            fields.putAll(LycorisFields.patterns(rankPattern, alphaPattern, dropouts));
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int r = (int) ModulePatterns.value(rankPattern, site.name(), rank);
            double scaling = ModulePatterns.value(alphaPattern, site.name(), alpha) / r;
            int[] in = factors(site.weight().inFeatures(), factor);
            int[] out = factors(site.weight().outFeatures(), factor);
            boolean full1 = !(both && r < Math.max(out[0], in[0]) / 2.0);
            boolean full2 = !(r < Math.max(out[1], in[1]) / 2.0);
            return new Lokr(
                    site,
                    scaling,
                    Factor.allocate("w1", out[0], in[0], r, full1, arena),
                    Factor.allocate("w2", out[1], in[1], r, full2, arena),
                    arena);
        }

        // PEFT: w1 (or w1a) is zero; with "lycoris" w2 (or w2b); otherwise nothing.
        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            for (AdapterParameter parameter : adapter.parameters()) {
                String name = parameter.name();
                boolean zero =
                        "lycoris".equals(start)
                                ? name.equals("w2") || name.equals("w2b")
                                : Boolean.TRUE.equals(start) && (name.equals("w1") || name.equals("w1a"));
                if (!zero) {
                    initialization.random(site, name).fillKaiming(parameter.values());
                }
            }
        }
    }
}
