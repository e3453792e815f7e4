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
import io.vectune.adapters.StartData;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// DoRA (Liu et al. 2024, arXiv 2402.09353): the direction of each row of W + sBA, and its magnitude m.
///
///     y = c ⊙ (x Wᵀ + s (x Aᵀ) Bᵀ) + b            c = m / n, n = row norms of W + sBA, taken as constants
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | loraA | (rank, inFeatures) | Kaiming-uniform | lora_A.weight |
/// | loraB | (outFeatures, rank) | 0 | lora_B.weight |
/// | magnitude | (outFeatures) | row norms of W + sBA, in f32 | lora_magnitude_vector |
///
/// Row norms take three terms in double and never form W + sBA or a dense W, so any weight format serves:
///
///     n_j^2 = |W_j|^2 + 2s sum_k B_jk (W Aᵀ)_jk + s^2 sum_k B_jk (B A Aᵀ)_jk
///
/// They depend on the parameters alone and are computed in [#refresh]. Forward saves h = s x Aᵀ and q = x Wᵀ + h Bᵀ.
///
///     dB = c ⊙ (gYᵀ h)   dm = (sum_t gY ⊙ q) / n
///     gH = s gY (c ⊙ B)   dA = gHᵀ x   gX = (gY ⊙ c) W + gH A
///
/// With dropout in training, as in PEFT: y = x Wᵀ + b + (c-1) ⊙ (x̃ Wᵀ) + c ⊙ s (x̃ Aᵀ) Bᵀ, which is x Wᵀ + h Bᵀ + b +
/// (c-1) ⊙ q with h and q of x̃.
///
/// Identity at start: exact, as m and n are the same f32 numbers.
/// Merge     c ⊙ rows(W + sBA), bias unchanged
/// Deviation magnitudes are f32 also on a bf16 base, where PEFT rounds them and the start is off by up to 2^-8;
///           rows of zeros give c = 0 instead of NaN
/// Source    peft tuners/lora/dora.py, tuners/lora/variants.py
public final class Dora implements ProductMap {
    /// The registry entry.
    public static final AdapterKind KIND =
            new AdapterKind("dora", "LORA", Map.of("use_dora", true), fields -> fields.isSet("use_dora"), Recipe::read);

    // Smallest norm divided by: a zero row stays zero.
    private static final double MIN_NORM = 1e-12;

    private static final int ROWS_OF_A_UNIT = 64;

    private final LayerSite site;
    private final int rank;
    private final float scaling;
    private final LowRankPath path;
    private final Matrix loraA;
    private final Matrix loraB;
    private final Matrix magnitude;

    // Derived from the parameters and the weight.
    private final float[] norm;
    private final float[] factor;
    private final float[] factorMinusOne;
    private final Matrix scaledB;

    private Dora(LayerSite site, LoraConfig config, int rank, Arena arena) {
        this.site = site;
        this.rank = rank;
        this.scaling = config.scalingOf(site, rank);
        this.path = new LowRankPath(site, config.dropout());
        this.loraA = Matrix.allocate(arena, rank, inFeatures());
        this.loraB = Matrix.allocate(arena, outFeatures(), rank);
        this.magnitude = Matrix.allocate(arena, 1, outFeatures());
        this.norm = new float[outFeatures()];
        this.factor = new float[outFeatures()];
        this.factorMinusOne = new float[outFeatures()];
        this.scaledB = Matrix.allocate(arena, outFeatures(), rank);
    }

    @Override
    public String kind() {
        return "dora";
    }

    @Override
    public int inFeatures() {
        return site.weight().inFeatures();
    }

    @Override
    public int outFeatures() {
        return site.weight().outFeatures();
    }

    /// The factor of the low-rank path.
    public float scaling() {
        return scaling;
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                AdapterParameter.matrix("loraA", "lora_A.weight", Role.INPUT_FACTOR, loraA),
                AdapterParameter.matrix("loraB", "lora_B.weight", Role.OUTPUT_FACTOR, loraB),
                AdapterParameter.vector("magnitude", "lora_magnitude_vector", Role.SCALE, magnitude));
    }

    @Override
    public Form form() {
        return Form.SCALES_AND_ADDS;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        rowNorms(compute, weight);
        for (int o = 0; o < factor.length; o++) {
            factor[o] = magnitude.get(0, o) / norm[o];
            factorMinusOne[o] = factor[o] - 1;
        }
        RowKernels.scaleRowsInto(compute, loraB, factor, scaledB);
    }

    private void rowNorms(Compute compute, Weight weight) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix weightA = workspace.matrix(rank, outFeatures());
        MatMul.multiply(compute, weight, loraA, weightA, false);
        double[] gram = gram(compute, loraA);
        double[] squared = weight.norms().rowSquared();
        float[] b = loraB.toArray();
        float[] products = weightA.toArray();
        double s = scaling;
        compute.team()
                .run(
                        norm.length,
                        ROWS_OF_A_UNIT,
                        (from, to, worker) -> {
                            for (int o = from; o < to; o++) {
                                double cross = 0;
                                double own = 0;
                                for (int k = 0; k < rank; k++) {
                                    double value = b[o * rank + k];
                                    double row = 0;
                                    for (int l = 0; l < rank; l++) {
                                        row += b[o * rank + l] * gram[k * rank + l];
                                    }
                                    cross += value * products[k * norm.length + o];
                                    own += value * row;
                                }
                                double sum = squared[o] + 2 * s * cross + s * s * own;
                                norm[o] = (float) Math.max(MIN_NORM, Math.sqrt(Math.max(0, sum)));
                            }
                        });
        workspace.release(mark);
    }

    // A Aᵀ in double: the rows of the lower triangle in parallel.
    private static double[] gram(Compute compute, Matrix a) {
        int rank = a.rows();
        float[] rows = a.toArray();
        int columns = a.columns();
        double[] gram = new double[rank * rank];
        compute.team()
                .run(
                        rank,
                        1,
                        (from, to, worker) -> {
                            for (int k = from; k < to; k++) {
                                for (int l = 0; l <= k; l++) {
                                    double sum = 0;
                                    for (int i = 0; i < columns; i++) {
                                        sum += (double) rows[k * columns + i] * rows[l * columns + i];
                                    }
                                    gram[k * rank + l] = sum;
                                    gram[l * rank + k] = sum;
                                }
                            }
                        });
        return gram;
    }

    @Override
    public long savedFloats(int tokens) {
        return (long) tokens * (rank + outFeatures());
    }

    @Override
    public void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        Matrix h = call.savedOrTemporary(0, call.x().rows(), rank);
        path.forward(call, loraA, loraB, scaling, h, terms, column);
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        Compute compute = call.compute();
        int tokens = y.rows();
        long before = (long) tokens * rank;
        if (path.drops(call)) {
            Workspace workspace = compute.workspace();
            long mark = workspace.mark();
            Matrix product = call.savedOrTemporary(before, tokens, outFeatures());
            LowRankTerms terms = new LowRankTerms();
            if (call.saved() == null) {
                addTerms(call, terms, 0);
            } else {
                terms.addForward(call.saved(0, tokens, rank), loraB, 0);
            }
            MatMul.multiply(compute, call.weight(), path.input(call), terms, product);
            RowKernels.addScaledColumns(compute, y, product, factorMinusOne);
            RowKernels.addRow(compute, y, call.bias());
            workspace.release(mark);
            return;
        }
        if (call.saved() != null) {
            RowKernels.copy(compute, y, call.saved(before, tokens, outFeatures()));
        }
        RowKernels.scaleColumns(compute, y, factor, call.bias());
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
        int tokens = gradOutput.rows();
        Matrix h = call.saved(0, tokens, rank);
        Matrix product = call.saved((long) tokens * rank, tokens, outFeatures());
        Matrix gradH = workspace.matrix(tokens, rank);
        long mark = workspace.mark();
        Matrix outer = workspace.matrix(outFeatures(), rank);
        outer.fill(0);
        // With dropout the path's part of the input gradient shares one mask with that of the second product.
        InputGradient carried = path.drops(call) ? null : gradInput;
        path.backward(call, loraA, scaledB, scaling, h, gradOutput, gradH, gradients.get(0), outer, carried);
        double[] dots = new double[outFeatures()];
        RowKernels.columnDots(compute, gradOutput, product, dots);
        addParameterGradients(compute, outer, dots, gradients.get(1), gradients.get(2));
        if (gradProduct != null) {
            backwardProductGradient(call, gradOutput, gradH, gradProduct, gradInput);
        }
        workspace.release(mark);
    }

    // dB += c ⊙ outer, dm += dots / n
    private void addParameterGradients(
            Compute compute, Matrix outer, double[] dots, Matrix gradB, Matrix gradMagnitude) {
        compute.team()
                .run(
                        factor.length,
                        ROWS_OF_A_UNIT,
                        (from, to, worker) -> {
                            float[] k = compute.scratch(worker, 0, rank);
                            float[] sums = compute.scratch(worker, 1, rank);
                            for (int o = from; o < to; o++) {
                                RowKernels.load(outer, o, k);
                                RowKernels.load(gradB, o, sums);
                                for (int i = 0; i < rank; i++) {
                                    sums[i] += factor[o] * k[i];
                                }
                                RowKernels.store(sums, gradB, o);
                                gradMagnitude.set(0, o, (float) (gradMagnitude.get(0, o) + dots[o] / norm[o]));
                            }
                        });
    }

    private void backwardProductGradient(
            AdapterCall call, Matrix gradOutput, Matrix gradH, Matrix gradProduct, @Nullable InputGradient gradInput) {
        Compute compute = call.compute();
        if (!path.drops(call)) {
            RowKernels.scaleColumnsInto(compute, gradOutput, factor, gradProduct);
            return;
        }
        if (gradInput != null) {
            RowKernels.scaleColumnsInto(compute, gradOutput, factorMinusOne, gradProduct);
            Matrix part = gradInput.part();
            LowRankTerms terms = new LowRankTerms();
            terms.addTransposed(gradH, loraA);
            MatMul.multiplyTransposed(compute, call.weight(), gradProduct, terms, part, false);
            path.mask(call, part);
            gradInput.add(part);
        }
        RowKernels.copy(compute, gradOutput, gradProduct);
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        MatMul.nn(compute, scaling, loraB, loraA, merged, true);
        for (int o = 0; o < factor.length; o++) {
            for (int i = 0; i < inFeatures(); i++) {
                merged.set(o, i, factor[o] * merged.get(o, i));
            }
        }
    }

    /// The configuration of a DoRA.
    record Recipe(LoraConfig config) implements AdapterRecipe {
        @Override
        public double scaling(String module, int storedRank) {
            return config.storedScaling(module, storedRank);
        }

        static Recipe read(ConfigFields fields) {
            LoraConfig config = LoraConfig.read(fields);
            if (config.loraBias()) {
                throw fields.wrong("lora_bias", "false with use_dora", true);
            }
            if (config.start().isResidual()) {
                throw fields.wrong(
                        "init_lora_weights", "a start that keeps the base with use_dora", config.start().field());
            }
            return new Recipe(config);
        }

        @Override
        public String kind() {
            return "dora";
        }

        @Override
        public String peftType() {
            return "LORA";
        }

        @Override
        public Map<String, Object> fields() {
            return config.fields(true);
        }

        @Override
        public int rankOf(LayerSite site) {
            return config.rankOf(site, StoredShapes.NONE);
        }

        @Override
        public StartData startData() {
            return config.start().data();
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new Dora(site, config, config.rankOf(site, shapes), arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Dora dora = (Dora) adapter;
            LoraFactors.start(config.start(), site, initialization, dora.scaling, dora.loraA, dora.loraB);
            dora.rowNorms(initialization.compute(), site.weight());
            for (int o = 0; o < dora.norm.length; o++) {
                dora.magnitude.set(0, o, dora.norm[o]);
            }
        }
    }
}
