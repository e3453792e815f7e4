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
import io.vectune.adapters.InputMap;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.ProductMap;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.kernel.RowKernels;
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// (IA)3 (Liu et al. 2022, arXiv 2205.05638): a gate on each output, or in feed-forward layers on each input.
///
///     output gate   y = (x Wᵀ + b) ⊙ l          dl = sum_t gY ⊙ y0       gX = (gY ⊙ l) W       saves y0
///     input gate    y = (x ⊙ l) Wᵀ + b          dl = sum_t gX' ⊙ x       gX = gX' ⊙ l, gX' = gY W
///
/// | parameter | shape | start | file |
/// |---|---|---|---|
/// | gate | (outFeatures) or (inFeatures) | 1 | ia3_l, (outFeatures, 1) or (1, inFeatures) |
///
/// Identity at start: exact.
/// Merge     rows or columns of W times l; an output gate scales the bias too. The base is kept, so unmerging needs no
///           division
/// Source    peft tuners/ia3/layer.py
public final class Ia3 {
    /// The registry entry.
    public static final AdapterKind KIND = AdapterKind.of("ia3", "IA3", Recipe::read);

    private Ia3() {}

    private static float[] values(Matrix gate) {
        return gate.toArray();
    }

    /// The gate on the outputs.
    static final class OutputGate extends LayerAdapter implements ProductMap {
        private final Matrix gate;

        OutputGate(LayerSite site, Arena arena) {
            super("ia3", site);
            this.gate = Matrix.allocate(arena, 1, outFeatures());
            gate.fill(1);
        }

        @Override
        public List<AdapterParameter> parameters() {
            return List.of(
                    new AdapterParameter("gate", gate, true, Role.SCALE, new Stored("ia3_l", false, outFeatures(), 1)));
        }

        @Override
        public Form form() {
            return Form.MAPS_OUTPUT;
        }

        @Override
        public long savedFloats(int tokens) {
            return (long) tokens * outFeatures();
        }

        @Override
        public void applyToProduct(AdapterCall call, Matrix y) {
            RowKernels.addRow(call.compute(), y, call.bias());
            if (call.saved() != null) {
                RowKernels.copy(call.compute(), y, call.saved(0, y.rows(), outFeatures()));
            }
            RowKernels.scaleColumns(call.compute(), y, values(gate), null);
        }

        @Override
        public void backwardProduct(
                AdapterCall call,
                Matrix gradOutput,
                @Nullable Matrix gradProduct,
                @Nullable InputGradient gradInput,
                List<Matrix> gradients) {
            double[] sums = new double[outFeatures()];
            RowKernels.columnDots(call.compute(), gradOutput, call.saved(0, gradOutput.rows(), outFeatures()), sums);
            RowKernels.addToRow(gradients.getFirst(), sums, 1);
            if (gradProduct != null) {
                RowKernels.scaleColumnsInto(call.compute(), gradOutput, values(gate), gradProduct);
            }
        }

        @Override
        public void merge(Compute compute, Weight weight, Matrix merged) {
            DenseCopy.of(weight, merged);
            for (int o = 0; o < outFeatures(); o++) {
                for (int i = 0; i < inFeatures(); i++) {
                    merged.set(o, i, merged.get(o, i) * gate.get(0, o));
                }
            }
        }

        @Override
        public boolean changesBias() {
            return site.bias() != null;
        }

        @Override
        public void mergeBias(@Nullable Matrix bias, Matrix merged) {
            ProductMap.super.mergeBias(bias, merged);
            for (int o = 0; o < outFeatures(); o++) {
                merged.set(0, o, merged.get(0, o) * gate.get(0, o));
            }
        }
    }

    /// The gate on the inputs.
    static final class InputGate extends LayerAdapter implements InputMap {
        private final Matrix gate;

        InputGate(LayerSite site, Arena arena) {
            super("ia3", site);
            this.gate = Matrix.allocate(arena, 1, inFeatures());
            gate.fill(1);
        }

        @Override
        public List<AdapterParameter> parameters() {
            return List.of(AdapterParameter.matrix("gate", "ia3_l", Role.SCALE, gate));
        }

        @Override
        public long savedFloats(int tokens) {
            return 0;
        }

        @Override
        public void mapInput(AdapterCall call, Matrix mapped) {
            RowKernels.scaleColumnsInto(call.compute(), call.x(), values(gate), mapped);
        }

        @Override
        public void backwardInput(
                AdapterCall call, Matrix gradMapped, @Nullable Matrix gradInput, List<Matrix> gradients) {
            double[] sums = new double[inFeatures()];
            RowKernels.columnDots(call.compute(), gradMapped, call.x(), sums);
            RowKernels.addToRow(gradients.getFirst(), sums, 1);
            if (gradInput != null) {
                RowKernels.scaleColumnsInto(call.compute(), gradMapped, values(gate), gradInput);
            }
        }

        @Override
        public void merge(Compute compute, Weight weight, Matrix merged) {
            DenseCopy.of(weight, merged);
            RowKernels.scaleColumns(compute, merged, values(gate), null);
        }
    }

    /// The configuration.
    ///
    /// @param feedforward modules with an input gate: names, or one regular expression
    /// @param regex whether `feedforward` is one regular expression
    /// @param ones whether gates start at 1; otherwise standard normal
    record Recipe(List<String> feedforward, boolean regex, boolean ones) implements AdapterRecipe {
        static Recipe read(ConfigFields fields) {
            boolean regex = fields.raw("feedforward_modules") instanceof String;
            List<String> modules =
                    fields.isSet("feedforward_modules") || fields.raw("feedforward_modules") != null
                            ? fields.names("feedforward_modules")
                            : List.of("down_proj");
            List<String> targets =
                    fields.isSet("target_modules") ? fields.names("target_modules") : List.of("down_proj");
            boolean lists = !regex && !(fields.raw("target_modules") instanceof String);
            if (lists && fields.isSet("feedforward_modules") && !targets.containsAll(modules)) {
                throw fields.wrong("feedforward_modules", "a part of target_modules " + targets, modules);
            }
            return new Recipe(modules, regex, fields.flag("init_ia3_weights", true));
        }

        @Override
        public String kind() {
            return "ia3";
        }

        @Override
        public String peftType() {
            return "IA3";
        }

        @Override
        public List<String> defaultTargets() {
            return List.of("k_proj", "v_proj", "down_proj");
        }

        @Override
        public Map<String, Object> fields() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("feedforward_modules", regex ? feedforward.getFirst() : feedforward);
            fields.put("init_ia3_weights", ones);
            fields.put("fan_in_fan_out", false);
            return fields;
        }

        @Override
        public Adapter create(LayerSite site, Arena arena, StoredShapes shapes) {
            return isFeedforward(site.name()) ? new InputGate(site, arena) : new OutputGate(site, arena);
        }

        private boolean isFeedforward(String module) {
            return regex
                    ? ModulePatterns.python(feedforward.getFirst()).matcher(module).matches()
                    : feedforward.stream().anyMatch(name -> module.equals(name) || module.endsWith("." + name));
        }

        @Override
        public void initialize(Adapter adapter, LayerSite site, Initialization initialization) {
            if (!ones) {
                Matrix gate = adapter.parameters().getFirst().values();
                initialization.random(site, "gate").fillNormal(gate, 0, 1);
            }
        }
    }
}
