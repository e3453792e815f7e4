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
import io.vectune.adapters.StartData;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.LowRankTerms;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// LoRA (Hu et al. 2021, arXiv 2106.09685), with rank stabilization, dropout and a bias on B as options.
///
///     y = x Wᵀ + b + s (x̃ Aᵀ) Bᵀ (+ s bB)            x̃ = dropout(x), s = alpha/rank or alpha/sqrt(rank)
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | loraA | (rank, inFeatures) | Kaiming-uniform, bound 1/sqrt(inFeatures) | lora_A.weight |
/// | loraB | (outFeatures, rank) | 0 | lora_B.weight |
/// | loraBias | (outFeatures), only with lora_bias | 0 | lora_B.bias |
///
/// Identity at start: exact, as B = 0. Forward saves h = s x̃ Aᵀ.
///
///     gH = s gY B    dB = gYᵀ h    dA = gHᵀ x̃    dbB = s sum_t gY    gX = gY W + mask ⊙ (gH A)
///
/// Merge     W + s B A, b + s bB; the base is kept, so unmerging is dropping the merged copy
/// Deviation dropout masks come from a counter-based hash, not from torch's generator
/// Source    peft tuners/lora/layer.py
public final class Lora implements ProductMap, LowRankForm {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("lora", "LORA", Recipe::read);

    /// LoRA that starts at the principal directions of its inputs; files do not tell it from others.
    public static final AdapterKind EVA = started("eva");

    /// LoRA that starts at what quantization lost; files do not tell it from others.
    public static final AdapterKind LOFTQ = started("loftq");

    private static AdapterKind started(String start) {
        return new AdapterKind(start, "LORA", Map.of("init_lora_weights", start), fields -> false, Recipe::read);
    }

    private final LayerSite site;
    private final int rank;
    private final float scaling;
    private final LowRankPath path;
    private final boolean trainB;
    private final Matrix loraA;
    private final Matrix loraB;
    private final @Nullable Matrix loraBias;

    private Lora(LayerSite site, LoraConfig config, int rank, Arena arena) {
        this.site = site;
        this.rank = rank;
        this.scaling = config.scalingOf(site, rank);
        this.path = new LowRankPath(site, config.dropout());
        this.trainB = config.start().method() != LoraStart.Method.MICA;
        this.loraA = Matrix.allocate(arena, rank, inFeatures());
        this.loraB = Matrix.allocate(arena, outFeatures(), rank);
        this.loraBias = config.loraBias() ? Matrix.allocate(arena, 1, outFeatures()) : null;
    }

    @Override
    public String kind() {
        return "lora";
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

    /// A (rank, inFeatures), live.
    public Matrix loraA() {
        return loraA;
    }

    /// B (outFeatures, rank), live.
    public Matrix loraB() {
        return loraB;
    }

    @Override
    public List<AdapterParameter> parameters() {
        List<AdapterParameter> parameters = new ArrayList<>();
        parameters.add(AdapterParameter.matrix("loraA", "lora_A.weight", Role.INPUT_FACTOR, loraA));
        AdapterParameter b = AdapterParameter.matrix("loraB", "lora_B.weight", Role.OUTPUT_FACTOR, loraB);
        parameters.add(trainB ? b : b.frozen());
        if (loraBias != null) {
            parameters.add(AdapterParameter.vector("loraBias", "lora_B.bias", Role.BIAS, loraBias));
        }
        return parameters;
    }

    @Override
    public Form form() {
        return Form.ADDS;
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        // Nothing depends on the parameters alone.
    }

    @Override
    public long savedFloats(int tokens) {
        return (long) tokens * rank;
    }

    @Override
    public void addTerms(AdapterCall call, LowRankTerms terms, int column) {
        Matrix h = call.savedOrTemporary(0, call.x().rows(), rank);
        path.forward(call, loraA, loraB, scaling, h, terms, column);
    }

    @Override
    public void applyToProduct(AdapterCall call, Matrix y) {
        Compute compute = call.compute();
        RowKernels.addRow(compute, y, call.bias());
        if (loraBias != null) {
            RowKernels.addScaledRow(compute, y, loraBias, scaling);
        }
    }

    @Override
    public void backwardProduct(
            AdapterCall call,
            Matrix gradOutput,
            @Nullable Matrix gradProduct,
            @Nullable InputGradient gradInput,
            List<Matrix> gradients) {
        Compute compute = call.compute();
        int tokens = gradOutput.rows();
        Matrix h = call.saved(0, tokens, rank);
        Matrix gradH = compute.workspace().matrix(tokens, rank);
        Matrix gradB = trainB ? gradients.get(1) : null;
        path.backwardWithProduct(call, loraA, loraB, scaling, h, gradOutput, gradH, gradients.get(0), gradB, gradInput);
        if (loraBias != null) {
            double[] sums = new double[outFeatures()];
            RowKernels.columnSums(compute, gradOutput, sums);
            RowKernels.addToRow(gradients.getLast(), sums, scaling);
        }
    }

    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        DenseCopy.of(weight, merged);
        MatMul.nn(compute, scaling, loraB, loraA, merged, true);
    }

    @Override
    public Factors lowRank(Compute compute) {
        return new Factors(loraA, loraB, scaling);
    }

    @Override
    public boolean changesBias() {
        return loraBias != null;
    }

    @Override
    public void mergeBias(@Nullable Matrix bias, Matrix merged) {
        ProductMap.super.mergeBias(bias, merged);
        if (loraBias != null) {
            for (int o = 0; o < outFeatures(); o++) {
                merged.set(0, o, merged.get(0, o) + scaling * loraBias.get(0, o));
            }
        }
    }

    /// The configuration of a LoRA.
    record Recipe(LoraConfig config) implements AdapterRecipe {
        @Override
        public double scaling(String module, int storedRank) {
            return config.storedScaling(module, storedRank);
        }

        static Recipe read(ConfigFields fields) {
            return new Recipe(LoraConfig.read(fields));
        }

        @Override
        public String kind() {
            return "lora";
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
        public int rankOf(LayerSite site) {
            return config.rankOf(site, StoredShapes.NONE);
        }

        @Override
        public StartData startData() {
            return config.start().data();
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new Lora(site, config, config.rankOf(site, shapes), arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            Lora lora = (Lora) adapter;
            LoraFactors.start(config.start(), site, initialization, lora.scaling, lora.loraA, lora.loraB);
        }
    }
}
