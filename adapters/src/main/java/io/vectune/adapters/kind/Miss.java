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
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// MiSS (Kang, Yin 2024, arXiv 2409.15371): inputs summed in blocks of r consecutive ones, then one matrix.
///
///     y = x Wᵀ + b + h D        h_k = sum of the inputs i with i mod r = k        D (r, outFeatures)
///
/// | form | parameter | start | file |
/// |---|---|---|---|
/// | default | D (r, outFeatures) | 0 | miss_block |
/// | mini | D (r, mini_r), repeated along the outputs | 0 | miss_block |
/// | bat | D (outFeatures/r, r, r): each r x r block of W changes by W_b D_o + D_o | 0 | miss_block |
///
/// Identity at start: exact. The first two are low-rank forms with a fixed 0/1 matrix A' and B' = Dᵀ: dD = dB'ᵀ. `bat`
/// needs W decoded for each new version of D, so it costs a dense matrix and a second product.
///
/// Source    peft tuners/miss/layer.py
public final class Miss {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("miss", "MISS", Recipe::read);

    private static final int ROWS_OF_A_UNIT = 64;

    private Miss() {}

    /// Default and mini.
    private static final class Sums extends FactoredAdapter {
        private final Matrix block;
        private final Matrix factorA;
        private final Matrix factorB;

        Sums(LayerSite site, int rank, int width, double dropout, Arena arena) {
            super("miss", site, 1, dropout);
            this.block = Matrix.allocate(arena, rank, width);
            this.factorA = Matrix.allocate(arena, rank, inFeatures());
            this.factorB = Matrix.allocate(arena, outFeatures(), rank);
            for (int i = 0; i < inFeatures(); i++) {
                factorA.set(i % rank, i, 1);
            }
        }

        @Override
        public List<AdapterParameter> parameters() {
            return List.of(AdapterParameter.matrix("block", "miss_block", Role.OUTPUT_FACTOR, block));
        }

        @Override
        public void refresh(Compute compute, Weight weight) {
            int rank = block.rows();
            compute.team()
                    .run(
                            outFeatures(),
                            ROWS_OF_A_UNIT,
                            (from, to, worker) -> {
                                float[] row = compute.scratch(worker, 0, rank);
                                for (int o = from; o < to; o++) {
                                    for (int k = 0; k < rank; k++) {
                                        row[k] = block.get(k, o % block.columns());
                                    }
                                    RowKernels.store(row, factorB, o);
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
            return false;
        }

        @Override
        void chain(Compute compute, @Nullable Matrix gradA, Matrix gradB, List<Matrix> gradients) {
            Matrix gradient = gradients.getFirst();
            int width = block.columns();
            compute.team()
                    .run(
                            block.rows(),
                            1,
                            (from, to, worker) -> {
                                float[] sums = compute.scratch(worker, 0, width);
                                for (int k = from; k < to; k++) {
                                    RowKernels.load(gradient, k, sums);
                                    for (int o = 0; o < outFeatures(); o++) {
                                        sums[o % width] += gradB.get(o, k);
                                    }
                                    RowKernels.store(sums, gradient, k);
                                }
                            });
        }
    }

    /// bat.
    private static final class Blocks extends DeltaAdapter {
        private final int rank;
        private final Matrix block;

        Blocks(LayerSite site, int rank, Arena arena) {
            super("miss", site, arena);
            this.rank = rank;
            this.block = Matrix.allocate(arena, outFeatures(), rank);
        }

        @Override
        public List<AdapterParameter> parameters() {
            Stored stored = new Stored("miss_block", false, outFeatures() / rank, rank, rank);
            return List.of(new AdapterParameter("block", block, true, Role.OUTPUT_FACTOR, stored));
        }

        // dW[o r + a, q r + c] = sum_b W[o r + a, q r + b] D[o, b, c] + D[o, a, c]
        @Override
        void form(Compute compute, Weight weight) {
            int in = inFeatures();
            compute.team()
                    .run(
                            outFeatures() / rank,
                            1,
                            (from, to, worker) -> {
                                float[] row = compute.scratch(worker, 0, in);
                                float[] changed = compute.scratch(worker, 1, in);
                                double[] square = new double[rank * rank];
                                double[] sum = new double[rank];
                                for (int line = from * rank; line < to * rank; line++) {
                                    if (line % rank == 0) {
                                        loadSquare(line, square);
                                    }
                                    weight.decode(line, line + 1, 0, in, row, 0, in);
                                    for (int q = 0; q < in; q += rank) {
                                        System.arraycopy(square, line % rank * rank, sum, 0, rank);
                                        for (int b = 0; b < rank; b++) {
                                            double w = row[q + b];
                                            for (int c = 0; c < rank; c++) {
                                                sum[c] += w * square[b * rank + c];
                                            }
                                        }
                                        for (int c = 0; c < rank; c++) {
                                            changed[q + c] = (float) sum[c];
                                        }
                                    }
                                    RowKernels.store(changed, delta, line);
                                }
                            });
        }

        // D[o] for the rows that start at `line`.
        private void loadSquare(int line, double[] square) {
            for (int b = 0; b < rank; b++) {
                for (int c = 0; c < rank; c++) {
                    square[b * rank + c] = block.get(line + b, c);
                }
            }
        }

        // dD[o, b, c] = sum_a,q W[o r + a, q r + b] G[o r + a, q r + c] + sum_q G[o r + b, q r + c]
        @Override
        void chain(Compute compute, Weight weight, Matrix gradDelta, List<Matrix> gradients) {
            Matrix gradient = gradients.getFirst();
            int in = inFeatures();
            compute.team()
                    .run(
                            outFeatures() / rank,
                            1,
                            (from, to, worker) -> {
                                float[] row = compute.scratch(worker, 0, in);
                                float[] g = compute.scratch(worker, 1, in);
                                double[] sums = new double[rank * rank];
                                for (int first = from * rank; first < to * rank; first += rank) {
                                    Arrays.fill(sums, 0);
                                    for (int a = 0; a < rank; a++) {
                                        weight.decode(first + a, first + a + 1, 0, in, row, 0, in);
                                        RowKernels.load(gradDelta, first + a, g);
                                        addOuter(row, g, a, sums);
                                    }
                                    for (int b = 0; b < rank; b++) {
                                        for (int c = 0; c < rank; c++) {
                                            double sum = gradient.get(first + b, c) + sums[b * rank + c];
                                            gradient.set(first + b, c, (float) sum);
                                        }
                                    }
                                }
                            });
        }

        private void addOuter(float[] row, float[] g, int a, double[] sums) {
            for (int q = 0; q < inFeatures(); q += rank) {
                for (int c = 0; c < rank; c++) {
                    sums[a * rank + c] += g[q + c];
                }
                for (int b = 0; b < rank; b++) {
                    double w = row[q + b];
                    for (int c = 0; c < rank; c++) {
                        sums[b * rank + c] += w * g[q + c];
                    }
                }
            }
        }
    }

    /// Which of the three.
    enum Form {
        DEFAULT,
        RANDOM,
        MINI,
        BAT
    }

    /// The configuration.
    record Recipe(int rank, int miniRank, double dropout, Form form) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 64);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            Object init = fields.raw("init_weights");
            Form form;
            if (init == null || Boolean.TRUE.equals(init)) {
                form = Form.DEFAULT;
            } else if (Boolean.FALSE.equals(init)) {
                form = Form.RANDOM;
            } else if ("mini".equals(init)) {
                form = Form.MINI;
            } else if ("bat".equals(init)) {
                form = Form.BAT;
            } else {
                throw fields.wrong("init_weights", "true, false, mini or bat", init);
            }
            return new Recipe(rank, fields.positive("mini_r", 1), fields.probability("miss_dropout"), form);
        }

        @Override
        public String kind() {
            return "miss";
        }

        @Override
        public String peftType() {
            return "MISS";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("mini_r", miniRank);
            fields.put("miss_dropout", dropout);
            fields.put(
                    "init_weights",
                    switch (form) {
                        case DEFAULT -> true;
                        case RANDOM -> false;
                        case MINI -> "mini";
                        case BAT -> "bat";
                    });
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            int in = site.weight().inFeatures();
            int out = site.weight().outFeatures();
            int rankOfSite = shapes.size("miss_block", form == Form.BAT ? 1 : 0, rank);
            if (rankOfSite > in) {
                throw new IllegalArgumentException(
                        site.name() + ": r: expected at most inFeatures=" + in + ", found " + rankOfSite);
            }
            if (form == Form.BAT) {
                if (in % rankOfSite != 0 || out % rankOfSite != 0) {
                    throw new IllegalArgumentException(
                            site.name()
                                    + ": r: bat needs a divisor of inFeatures="
                                    + in
                                    + " and outFeatures="
                                    + out
                                    + ", found "
                                    + rankOfSite);
                }
                return new Blocks(site, rankOfSite, arena);
            }
            int width = form == Form.MINI ? shapes.size("miss_block", 1, miniRank) : out;
            if (out % width != 0) {
                throw new IllegalArgumentException(
                        site.name() + ": mini_r: expected a divisor of outFeatures=" + out + ", found " + width);
            }
            return new Sums(site, rankOfSite, width, dropout, arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            if (form == Form.RANDOM) {
                initialization.random(site, "block").fillKaiming(adapter.parameters().getFirst().values());
            }
        }
    }
}
