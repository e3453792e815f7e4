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
import io.vectune.adapters.InputGradient;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// DeLoRA (Bini et al. 2025, arXiv 2503.18225): normalized rank-one terms of a learned total size.
///
///     y = x Wᵀ + b + (((x ⊙ w) Aᵀ) ⊙ sigma) Bᵀ        sigma_k = lambda / (rank a_k b_k)
///     a_k = max(|row k of A|, 1e-4)    b_k = max(|column k of B|, 1e-4)    w = column norms of W
///
/// which is the low-rank form A' = A ⊙ w (columns), B' = B ⊙ sigma (columns), computed once a parameter version.
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | loraA | (rank, inFeatures) | Kaiming-uniform | delora_A |
/// | loraB | (outFeatures, rank) | 0, or Kaiming-uniform | delora_B |
/// | lambda | (1) | 15 | delora_lambda |
/// | weightNorm | (inFeatures), frozen | column norms of W | delora_w_norm |
///
/// Identity at start: exact with B = 0. At B = 0 the clamp makes sigma large, so the first step of plain SGD is huge;
/// `init_weights=frozen_copy` starts as the paper does: all factors random and their first value subtracted,
///
///     y += x (A'ᵀ B'ᵀ - A0'ᵀ B0'ᵀ) = x A'ᵀ (B' - B0')ᵀ + x (A' - A0')ᵀ B0'ᵀ       exactly 0 at start.
///
/// With h = x A'ᵀ, K = gYᵀ h0 where h0 = (x ⊙ w) Aᵀ, e_k = sum_o B_ok K_ok:
///
///     dlambda = sum_k e_k / (rank a_k b_k)        dB = K ⊙ sigma - [b >= 1e-4] B ⊙ (e sigma / b^2)
///     gH = gY B'     dA = (gHᵀ x) ⊙ w - [a >= 1e-4] (e sigma / a^2)_k A_k      gX = gY W + gH A'
///
/// Merge     W + B' A', an exact LoRA of the same rank
/// Source    peft tuners/delora/layer.py
public final class Delora extends LayerAdapter implements ProductMap, LowRankForm {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("delora", "DELORA", Recipe::read);

    private static final double MIN_NORM = 1e-4;

    private final int rank;
    private final boolean frozenCopy;
    private final LowRankPath path;
    private final Matrix loraA;
    private final Matrix loraB;
    private final Matrix lambda;
    private final Matrix weightNorm;
    // The frozen start, with frozenCopy; otherwise without rows.
    private final Matrix startA;
    private final Matrix startB;
    private final Matrix startLambda;

    // Derived: A' over A' - A0', and B' - B0' beside B0'; without frozen copy A' and B' alone.
    private final Matrix stackedA;
    private final Matrix stackedB;
    private final Matrix scaledB;
    private final double[] normA;
    private final double[] normB;
    private final double[] sigma;

    private Delora(LayerSite site, int rank, Recipe recipe, Arena arena) {
        super("delora", site);
        this.rank = rank;
        this.frozenCopy = recipe.start == Start.FROZEN_COPY;
        this.path = new LowRankPath(site, recipe.dropout);
        this.loraA = Matrix.allocate(arena, rank, inFeatures());
        this.loraB = Matrix.allocate(arena, outFeatures(), rank);
        this.lambda = Matrix.allocate(arena, 1, 1);
        this.weightNorm = Matrix.allocate(arena, 1, inFeatures());
        columnNorms(site.weight(), weightNorm);
        int copies = frozenCopy ? 2 : 1;
        this.startA = Matrix.allocate(arena, rank, inFeatures());
        this.startB = Matrix.allocate(arena, outFeatures(), rank);
        this.startLambda = Matrix.allocate(arena, 1, 1);
        this.stackedA = Matrix.allocate(arena, copies * rank, inFeatures());
        this.stackedB = Matrix.allocate(arena, outFeatures(), copies * rank);
        this.scaledB = Matrix.allocate(arena, outFeatures(), rank);
        this.normA = new double[rank];
        this.normB = new double[rank];
        this.sigma = new double[rank];
    }

    private static void columnNorms(Weight weight, Matrix norms) {
        double[] squared = weight.norms().columnSquared();
        for (int i = 0; i < squared.length; i++) {
            norms.set(0, i, (float) Math.sqrt(squared[i]));
        }
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>();
        parameters.add(AdapterParameter.matrix("loraA", "delora_A", Role.INPUT_FACTOR, loraA));
        parameters.add(AdapterParameter.matrix("loraB", "delora_B", Role.OUTPUT_FACTOR, loraB));
        parameters.add(AdapterParameter.vector("lambda", "delora_lambda", Role.SCALE, lambda));
        parameters.add(
                new AdapterParameter(
                        "weightNorm",
                        weightNorm,
                        false,
                        Role.SCALE,
                        new Stored("delora_w_norm", false, inFeatures()).optional()));
        if (frozenCopy) {
            parameters.add(AdapterParameter.matrix("startA", "delora_A0", Role.INPUT_FACTOR, startA).frozen());
            parameters.add(AdapterParameter.matrix("startB", "delora_B0", Role.OUTPUT_FACTOR, startB).frozen());
            parameters.add(AdapterParameter.vector("startLambda", "delora_lambda0", Role.SCALE, startLambda).frozen());
        }
        return parameters;
    }

    @Override
    public Form form() {
        return Form.ADDS;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        norms(loraA, loraB, lambda.get(0, 0), normA, normB, sigma);
        double[] startSigma = new double[rank];
        if (frozenCopy) {
            norms(startA, startB, startLambda.get(0, 0), new double[rank], new double[rank], startSigma);
        }
        for (int k = 0; k < rank; k++) {
            for (int i = 0; i < inFeatures(); i++) {
                float w = weightNorm.get(0, i);
                stackedA.set(k, i, loraA.get(k, i) * w);
                if (frozenCopy) {
                    stackedA.set(rank + k, i, (loraA.get(k, i) - startA.get(k, i)) * w);
                }
            }
            for (int o = 0; o < outFeatures(); o++) {
                double scaled = loraB.get(o, k) * sigma[k];
                scaledB.set(o, k, (float) scaled);
                if (frozenCopy) {
                    double start = startB.get(o, k) * startSigma[k];
                    stackedB.set(o, k, (float) (scaled - start));
                    stackedB.set(o, rank + k, (float) start);
                } else {
                    stackedB.set(o, k, (float) scaled);
                }
            }
        }
    }

    private void norms(Matrix a, Matrix b, double lambdaNow, double[] ofA, double[] ofB, double[] scale) {
        for (int k = 0; k < rank; k++) {
            double squareA = 0;
            for (int i = 0; i < inFeatures(); i++) {
                squareA += (double) a.get(k, i) * a.get(k, i);
            }
            double squareB = 0;
            for (int o = 0; o < outFeatures(); o++) {
                squareB += (double) b.get(o, k) * b.get(o, k);
            }
            ofA[k] = Math.max(MIN_NORM, Math.sqrt(squareA));
            ofB[k] = Math.max(MIN_NORM, Math.sqrt(squareB));
            scale[k] = lambdaNow / (rank * ofA[k] * ofB[k]);
        }
    }

    @Override
    public long savedFloats(int tokens) {
        return (long) tokens * stackedA.rows();
    }

    @Override
    public void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        Matrix h = call.savedOrTemporary(0, call.x().rows(), stackedA.rows());
        path.forward(call, stackedA, stackedB, 1, h, terms, column);
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        RowKernels.addRow(call.compute(), y, call.bias());
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
        Matrix gradH = workspace.matrix(tokens, stackedA.rows());
        long mark = workspace.mark();
        Matrix h = call.saved(0, tokens, stackedA.rows()).columns(0, rank);
        Matrix outer = workspace.matrix(outFeatures(), rank);
        MatMul.tn(compute, 1, gradOutput, h, outer, false);
        MatMul.nn(compute, 1, gradOutput, stackedB, gradH, false);
        if (gradInput != null) {
            path.backwardInput(call, gradH, stackedA, gradInput);
        }
        Matrix trained = gradH;
        if (frozenCopy) {
            trained = workspace.matrix(tokens, rank);
            MatMul.nn(compute, 1, gradOutput, scaledB, trained, false);
        }
        Matrix inner = workspace.matrix(rank, inFeatures());
        MatMul.tn(compute, 1, trained, path.input(call), inner, false);
        addParameterGradients(outer, inner, gradients);
        workspace.release(mark);
    }

    private void addParameterGradients(Matrix outer, Matrix inner, List<Matrix> gradients) {
        Matrix gradA = gradients.get(0);
        Matrix gradB = gradients.get(1);
        double gradLambda = 0;
        for (int k = 0; k < rank; k++) {
            double e = 0;
            for (int o = 0; o < outFeatures(); o++) {
                e += (double) loraB.get(o, k) * outer.get(o, k);
            }
            gradLambda += e / (rank * normA[k] * normB[k]);
            double pullB = normB[k] > MIN_NORM ? e * sigma[k] / (normB[k] * normB[k]) : 0;
            double pullA = normA[k] > MIN_NORM ? e * sigma[k] / (normA[k] * normA[k]) : 0;
            for (int o = 0; o < outFeatures(); o++) {
                double value = outer.get(o, k) * sigma[k] - loraB.get(o, k) * pullB;
                gradB.set(o, k, (float) (gradB.get(o, k) + value));
            }
            for (int i = 0; i < inFeatures(); i++) {
                double value = (double) inner.get(k, i) * weightNorm.get(0, i) - loraA.get(k, i) * pullA;
                gradA.set(k, i, (float) (gradA.get(k, i) + value));
            }
        }
        Matrix target = gradients.get(2);
        target.set(0, 0, (float) (target.get(0, 0) + gradLambda));
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        MatMul.nn(compute, 1, stackedB, stackedA, merged, true);
    }

    @Override
    public Factors lowRank(Compute compute) {
        return new Factors(stackedA, stackedB, 1);
    }

    /// How the factors start.
    enum Start {
        ZERO,
        RANDOM,
        FROZEN_COPY
    }

    /// The configuration.
    record Recipe(
            int rank,
            double lambda,
            double dropout,
            Start start,
            Map<String, Double> rankPattern,
            Map<String, Double> lambdaPattern)
            implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            int rank = fields.integer("r", 8);
            if (rank < 1) {
                throw fields.wrong("r", "a rank of at least 1", rank);
            }
            Object init = fields.raw("init_weights");
            Start start;
            if (init == null || Boolean.TRUE.equals(init)) {
                start = Start.ZERO;
            } else if (Boolean.FALSE.equals(init)) {
                start = Start.RANDOM;
            } else if ("frozen_copy".equals(init)) {
                start = Start.FROZEN_COPY;
            } else {
                throw fields.wrong("init_weights", "true, false or frozen_copy", init);
            }
            return new Recipe(
                    rank,
                    fields.number("delora_lambda", 15),
                    fields.probability("module_dropout"),
                    start,
                    fields.pattern("rank_pattern"),
                    fields.pattern("lambda_pattern"));
        }

        @Override
        public String kind() {
            return "delora";
        }

        @Override
        public String peftType() {
            return "DELORA";
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("r", rank);
            fields.put("delora_lambda", lambda);
            fields.put("module_dropout", dropout);
            fields.put("init_weights", start == Start.FROZEN_COPY ? "frozen_copy" : (Object) (start == Start.ZERO));
            Map<String, Object> ranks = new LinkedHashMap<>();
            rankPattern.forEach((pattern, value) -> ranks.put(pattern, value.intValue()));
            fields.put("rank_pattern", ranks);
            fields.put("lambda_pattern", lambdaPattern);
            return fields;
        }

        @Override
        public int rankOf(LayerSite site) {
            return (int) ModulePatterns.value(rankPattern, site.name(), rank);
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            Delora delora = new Delora(site, shapes.size("delora_A", 0, rankOf(site)), this, arena);
            delora.lambda.fill((float) ModulePatterns.value(lambdaPattern, site.name(), lambda));
            return delora;
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Delora delora = (Delora) adapter;
            initialization.random(site, "loraA").fillKaiming(delora.loraA);
            if (start != Start.ZERO) {
                initialization.random(site, "loraB").fillKaiming(delora.loraB);
            }
            delora.startA.copyFrom(delora.loraA);
            delora.startB.copyFrom(delora.loraB);
            delora.startLambda.copyFrom(delora.lambda);
        }
    }
}
