package io.vectune.adapters.kind;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterCall;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterRecipe;
import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.NormScale;
import io.vectune.adapters.StoredShapes;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// LN tuning (Zhao et al. 2023, arXiv 2312.11420): the scales of norms, trained; also what `modules_to_save` makes of a
/// norm.
///
///     y = x ⊙ g, x the normalized input        dg = sum_t gY ⊙ x        gX = gY ⊙ g
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | scale | (features) | the base's | ln_tuning_layers.weight; `weight` in modules_to_save |
///
/// Identity at start: exact. Merge: the scale replaces the base's
/// Source    peft tuners/ln_tuning/layer.py
public final class LnTuning implements NormScale {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("ln_tuning", "LN_TUNING", Recipe::read);

    private final String key;
    private final Matrix scale;

    /// A copy of a norm's scale.
    ///
    /// @param key of the scale in a PEFT file
    public LnTuning(LayerSite site, String key, Arena arena) {
        this.key = key;
        this.scale = Matrix.allocate(arena, 1, site.weight().inFeatures());
        DenseCopy.of(site.weight(), scale);
    }

    @Override
    public String kind() {
        return "ln_tuning";
    }

    @Override
    public int inFeatures() {
        return scale.columns();
    }

    @Override
    public int outFeatures() {
        return scale.columns();
    }

    @Override
    public Matrix scale() {
        return scale;
    }

    @Override
    public List<AdapterParameter> parameters() {
        return List.of(AdapterParameter.vector("scale", key, Role.SCALE, scale));
    }

    @Override
    public void refresh(Compute compute, Weight weight) {
        // Nothing depends on the scale alone.
    }

    @Override
    public long savedFloats(int tokens) {
        return 0;
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        scaled(call.x(), y);
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        Matrix gradScale = gradients.getFirst();
        for (int i = 0; i < scale.columns(); i++) {
            double sum = gradScale.get(0, i);
            for (int t = 0; t < gradOutput.rows(); t++) {
                sum += (double) gradOutput.get(t, i) * call.x().get(t, i);
            }
            gradScale.set(0, i, (float) sum);
        }
        if (gradInput != null) {
            scaled(gradOutput, gradInput);
        }
    }

    private void scaled(Matrix from, Matrix to) {
        for (int t = 0; t < from.rows(); t++) {
            for (int i = 0; i < scale.columns(); i++) {
                to.set(t, i, from.get(t, i) * scale.get(0, i));
            }
        }
    }

    /// Overwrites `merged` (1, features).
    @Override
    public void merge(Compute compute, Weight weight, Matrix merged) {
        merged.copyFrom(scale);
    }

    /// The configuration; it has no options.
    record Recipe() implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            return new Recipe();
        }

        @Override
        public String kind() {
            return "ln_tuning";
        }

        @Override
        public String peftType() {
            return "LN_TUNING";
        }

        @Override
        public Map<String, Object> fields() {
            return Map.of();
        }

        @Override
        public List<String> defaultTargets() {
            return List.of("input_layernorm", "post_attention_layernorm", "norm");
        }

        @Override
        public boolean sitsOn(LayerSite.Part part) {
            return part == LayerSite.Part.NORM;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return new LnTuning(site, "ln_tuning_layers.weight", arena);
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            // It starts as a copy.
        }
    }
}
