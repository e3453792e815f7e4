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
import io.vectune.adapters.LowRankForm;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.VectuneException;
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

/// LoRA that starts from a part of the weight itself: PiSSA (Meng et al. 2024, arXiv 2404.02948), the top singular
/// part, and OLoRA (Büyükakyüz 2024, arXiv 2406.01775), the first columns of Q and rows of R.
///
/// PEFT takes the start out of the base weight, which then fits no other adapter. Here the base stays as it is and the
/// frozen start (A0, B0) is subtracted in rank space, which is the same function:
///
///     y = x (W - s B0 A0)ᵀ + s (x Aᵀ) Bᵀ + b
///       = x Wᵀ + b + s ( (x Aᵀ) (B - B0)ᵀ + (x (A - A0)ᵀ) B0ᵀ )
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | loraA, A0 | (rank, inFeatures) | sqrt(S/s) Vᵀ, or R | lora_A.weight; A0 is recomputed from W |
/// | loraB, B0 | (outFeatures, rank) | U sqrt(S/s), or Q | lora_B.weight; B0 is recomputed from W |
///
/// Identity at start: bitwise, as both differences are zeros. Forward saves h = s x [A; A - A0]ᵀ (tokens, 2 rank).
///
///     gH' = s gY [B - B0, B0]    dB = gYᵀ h_A    dA = (gH'_1 + gH'_2)ᵀ x    gX = gY W + gH' [A; A - A0]
///
/// Merge     W + s [B - B0, B0] [A; A - A0]: an exact LoRA of rank 2 rank
/// Source    peft tuners/lora/layer.py (pissa_init, olora_init)
public final class Pissa extends LayerAdapter implements ProductMap, LowRankForm {
    /// The registry entry of PiSSA.
    public static final AdapterKind KIND = kind("pissa", LoraStart.Method.PISSA);

    /// The registry entry of OLoRA.
    public static final AdapterKind OLORA = kind("olora", LoraStart.Method.OLORA);

    private static AdapterKind kind(String name, LoraStart.Method method) {
        return new AdapterKind(
                name,
                "LORA",
                Map.of("init_lora_weights", name),
                fields -> fields.raw("init_lora_weights") instanceof String text && text.startsWith(name),
                fields -> Recipe.read(name, method, fields));
    }

    private final int rank;
    private final float scaling;
    private final LowRankPath path;
    private final Matrix loraA;
    private final Matrix loraB;
    private final Matrix startA;
    private final Matrix startB;
    private final Matrix stackedA;
    private final Matrix stackedB;

    private Pissa(String kind, LayerSite site, LoraConfig config, int rank, Arena arena) {
        super(kind, site);
        this.rank = rank;
        this.scaling = config.scalingOf(site, rank);
        this.path = new LowRankPath(site, config.dropout());
        this.loraA = Matrix.allocate(arena, rank, inFeatures());
        this.loraB = Matrix.allocate(arena, outFeatures(), rank);
        this.startA = Matrix.allocate(arena, rank, inFeatures());
        this.startB = Matrix.allocate(arena, outFeatures(), rank);
        this.stackedA = Matrix.allocate(arena, 2 * rank, inFeatures());
        this.stackedB = Matrix.allocate(arena, outFeatures(), 2 * rank);
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(
                AdapterParameter.matrix("loraA", "lora_A.weight", Role.INPUT_FACTOR, loraA),
                AdapterParameter.matrix("loraB", "lora_B.weight", Role.OUTPUT_FACTOR, loraB),
                new AdapterParameter("startA", startA, false, Role.INPUT_FACTOR, null),
                new AdapterParameter("startB", startB, false, Role.OUTPUT_FACTOR, null));
    }

    @Override
    public Form form() {
        return Form.ADDS;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        for (int k = 0; k < rank; k++) {
            for (int i = 0; i < inFeatures(); i++) {
                stackedA.set(k, i, loraA.get(k, i));
                stackedA.set(rank + k, i, loraA.get(k, i) - startA.get(k, i));
            }
        }
        for (int o = 0; o < outFeatures(); o++) {
            for (int k = 0; k < rank; k++) {
                stackedB.set(o, k, loraB.get(o, k) - startB.get(o, k));
                stackedB.set(o, rank + k, startB.get(o, k));
            }
        }
    }

    @Override
    public long savedFloats(int tokens) {
        return 2L * tokens * rank;
    }

    @Override
    public void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        Matrix h = call.savedOrTemporary(0, call.x().rows(), 2 * rank);
        path.forward(call, stackedA, stackedB, scaling, h, terms, column);
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
        Matrix h = call.saved(0, tokens, 2 * rank);
        Matrix gradH = workspace.matrix(tokens, 2 * rank);
        long mark = workspace.mark();
        Matrix gradB = gradients.get(1);
        MatMul.nn(compute, scaling, gradOutput, stackedB, gradH, false);
        MatMul.tn(compute, 1, gradOutput, h.columns(0, rank), gradB, true);
        if (gradInput != null) {
            path.backwardInput(call, gradH, stackedA, gradInput);
        }
        Matrix sum = workspace.matrix(tokens, rank);
        RowKernels.copy(compute, gradH.columns(0, rank), sum);
        RowKernels.addScaled(compute, sum, gradH.columns(rank, 2 * rank), 1);
        MatMul.tn(compute, 1, sum, path.input(call), gradients.get(0), true);
        workspace.release(mark);
    }

    private void start(LoraConfig config, LayerSite layer, Initialization initialization) {
        LoraFactors.start(config.start(), layer, initialization, scaling, startA, startB);
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        MatMul.nn(compute, scaling, stackedB, stackedA, merged, true);
    }

    @Override
    public Factors lowRank(Compute compute) {
        return new Factors(stackedA, stackedB, scaling);
    }

    /// The configuration.
    record Recipe(String kind, LoraConfig config) implements AdapterRecipe {
        @Override
        public double scaling(String module, int storedRank) {
            return config.storedScaling(module, storedRank);
        }

        static Recipe read(String name, LoraStart.Method method, ConfigFields fields) {
            LoraConfig config = LoraConfig.read(fields);
            if (config.start().method() != method) {
                throw fields.wrong("init_lora_weights", name, config.start().field());
            }
            return new Recipe(name, config);
        }

        @Override
        public String peftType() {
            return "LORA";
        }

        @Override
        public Map<String, Object> fields() {
            return config.fields(false);
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new Pissa(kind, site, config, config.rankOf(site, shapes), arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Pissa pissa = (Pissa) adapter;
            pissa.start(config, site, initialization);
            pissa.loraA.copyFrom(pissa.startA);
            pissa.loraB.copyFrom(pissa.startB);
        }

        @Override
        public void requireRepeatable(String where) {
            if (config.start().iterations() > 0) {
                throw new VectuneException(
                        where
                                + ": init_lora_weights: expected a start that can be computed again, found pissa_niter_"
                                + config.start().iterations()
                                + ", whose base PEFT draws at random and does not save; save it with PEFT's"
                                + " path_initial_model_for_weight_conversion, or set pissa to take the exact decomposition in"
                                + " its place");
            }
        }

        @Override
        public void complete(Adapter adapter, LayerSite site, Initialization initialization) {
            requireRepeatable(site.name());
            ((Pissa) adapter).start(config, site, initialization);
        }
    }
}
