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
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// LoKr (Yeh et al. 2023, LyCORIS, arXiv 2309.14859): a Kronecker product, its factors full or low-rank.
///
///     dW = s w1 ⊗ w2        dW[a m + c, b n + d] = s w1[a, b] w2[c, d]        s = alpha / rank
///
/// outFeatures = p m and inFeatures = q n with factors near the square root (or given by decompose_factor); w1 (p, q),
/// w2 (m, n).
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | w1, or w1a w1b with decompose_both and a small rank | (p, q); (p, rank), (rank, q) | 0; 0, Kaiming | lokr_w1 .. |
/// | w2, or w2a w2b with a small rank | (m, n); (m, rank), (rank, n) | Kaiming | lokr_w2 .. |
///
/// Identity at start: exact. With G = d(dW): dw1[a,b] = s sum_cd G w2[c,d], dw2[c,d] = s sum_ab G w1[a,b].
///
/// Omitted   rank_dropout and module_dropout
/// Source    peft tuners/lokr/layer.py
public final class Lokr extends DeltaAdapter {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("lokr", "LOKR", Recipe::read);

    private final double scaling;
    private final Factor first;
    private final Factor second;

    private Lokr(LayerSite site, double scaling, Factor first, Factor second, Arena arena) {
        super("lokr", site, arena);
        this.scaling = scaling;
        this.first = first;
        this.second = second;
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

        double[] value() {
            double[] left = SmallMatrix.doubles(matrices.getFirst());
            if (matrices.size() == 1) {
                return left;
            }
            Matrix b = matrices.getLast();
            return SmallMatrix.nn(left, SmallMatrix.doubles(b), rows, b.rows(), columns);
        }

        void addGradient(double[] gradient, List<Matrix> targets) {
            if (matrices.size() == 1) {
                SmallMatrix.add(targets.getFirst(), gradient, 1);
                return;
            }
            int rank = matrices.getLast().rows();
            double[] a = SmallMatrix.doubles(matrices.getFirst());
            double[] b = SmallMatrix.doubles(matrices.getLast());
            double[] bT = SmallMatrix.transpose(b, rank, columns);
            double[] aT = SmallMatrix.transpose(a, rows, rank);
            SmallMatrix.add(targets.getFirst(), SmallMatrix.nn(gradient, bT, rows, columns, rank), 1);
            SmallMatrix.add(targets.getLast(), SmallMatrix.nn(aT, gradient, rank, rows, columns), 1);
        }

        List<AdapterParameter> parameters(Role role) {
            if (matrices.size() == 1) {
                return List.of(AdapterParameter.matrix(name, "lokr_" + name, role, matrices.getFirst()));
            }
            return List.of(
                    AdapterParameter.matrix(name + "a", "lokr_" + name + "_a", role, matrices.getFirst()),
                    AdapterParameter.matrix(name + "b", "lokr_" + name + "_b", role, matrices.getLast()));
        }
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>(first.parameters(Role.OUTPUT_FACTOR));
        parameters.addAll(second.parameters(Role.INPUT_FACTOR));
        return parameters;
    }

    @Override
    void form(Compute compute, Weight weight) {
        double[] w1 = first.value();
        double[] w2 = second.value();
        int m = second.rows();
        int n = second.columns();
        for (int o = 0; o < outFeatures(); o++) {
            for (int i = 0; i < inFeatures(); i++) {
                double product = w1[o / m * first.columns() + i / n] * w2[o % m * n + i % n];
                delta.set(o, i, (float) (scaling * product));
            }
        }
    }

    @Override
    void chain(Compute compute, Weight weight, Matrix gradDelta, List<Matrix> gradients) {
        double[] w1 = first.value();
        double[] w2 = second.value();
        double[] grad1 = new double[w1.length];
        double[] grad2 = new double[w2.length];
        int m = second.rows();
        int n = second.columns();
        for (int o = 0; o < outFeatures(); o++) {
            for (int i = 0; i < inFeatures(); i++) {
                double g = scaling * gradDelta.get(o, i);
                int ab = o / m * first.columns() + i / n;
                int cd = o % m * n + i % n;
                grad1[ab] += g * w2[cd];
                grad2[cd] += g * w1[ab];
            }
        }
        int split = first.matrices().size();
        first.addGradient(grad1, gradients.subList(0, split));
        second.addGradient(grad2, gradients.subList(split, gradients.size()));
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
            Map<String, Double> alphaPattern)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 8);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            LycorisFields.refuseDropout(fields);
            fields.ignore("rank_dropout_scale");
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
                    fields.pattern("alpha_pattern"));
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
            fields.putAll(LycorisFields.patterns(rankPattern, alphaPattern));
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
