package io.vectune.adapters;

import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.adapters.target.Targeting;
import io.vectune.runtime.VectuneException;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// A complete adapter configuration: the kind with its options, and the layers it goes to.
///
/// @param recipe the kind and its options
/// @param targeting which layers
/// @param biases which biases of the base are trained too
/// @param tokens by the name of an embedding: tokens whose rows are trained beside the adapters
/// @param description fields that say something about the adapter and change nothing: `task_type`,
///   `base_model_name_or_path`
public record AdapterConfig(
        AdapterRecipe recipe,
        Targeting targeting,
        Biases biases,
        Map<String, List<Integer>> tokens,
        Map<String, Object> description) {
    /// Which biases of the base are trained too.
    public enum Biases {
        /// None.
        NONE,
        /// Those of adapted layers.
        ADAPTED,
        /// Those of all linear layers.
        ALL
    }

    private static final List<String> DESCRIPTIVE =
            List.of("task_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version");

    public AdapterConfig {
        tokens = Map.copyOf(tokens);
        description = Map.copyOf(description);
    }

    /// Reads the fields of an `adapter_config.json`.
    ///
    /// @throws VectuneException for a field that is wrong, or that changes the function and is not supported
    public static AdapterConfig read(ConfigFields fields) {
        AdapterRecipe recipe = AdapterKinds.read(fields);
        Targeting targeting = Targeting.read(fields, recipe.defaultTargets());
        Map<String, Object> description = new HashMap<>();
        for (String field : DESCRIPTIVE) {
            Object value = fields.raw(field);
            if (value != null) {
                description.put(field, value);
            }
        }
        fields.ignore("inference_mode", "runtime_config");
        Biases biases = biases(fields, recipe.peftType());
        Map<String, List<Integer>> tokens = TrainableTokens.readBeside(fields);
        fields.refuseUnread(recipe.kind());
        return new AdapterConfig(recipe, targeting, biases, tokens, description);
    }

    // PEFT calls the middle choice after the type: lora_only, hra_only.
    private static Biases biases(ConfigFields fields, String peftType) {
        String text = fields.text("bias", "none");
        String only = peftType.toLowerCase(Locale.ROOT) + "_only";
        if (text.equals("none")) {
            return Biases.NONE;
        }
        if (text.equals("all")) {
            return Biases.ALL;
        }
        if (text.equals(only)) {
            return Biases.ADAPTED;
        }
        throw fields.wrong("bias", "none, all or " + only, text);
    }

    /// The parts of a host that get an adapter of this kind, in the host's order.
    ///
    /// @param strict whether each name must match a part; PEFT asks only that one of them does
    /// @throws VectuneException if nothing matches, or a name matches nothing; near matches are offered
    public List<LayerSite> select(List<LayerSite> sites, boolean strict) {
        return targeting.select(sites.stream().filter(site -> recipe.sitsOn(site.part())).toList(), strict);
    }

    /// A configuration by the kind's name and the options of PEFT: what a command line gives.
    ///
    /// @param options field to value, as in `adapter_config.json`: `r`, `lora_alpha`, `target_modules`
    public static AdapterConfig of(String kind, Map<String, ?> options) {
        AdapterKind known = AdapterKinds.ofName(kind);
        Map<String, Object> fields = new LinkedHashMap<>(options);
        known.presets().forEach(fields::putIfAbsent);
        fields.put("peft_type", known.peftType());
        fields.putIfAbsent("task_type", "CAUSAL_LM");
        return read(new ConfigFields(kind, fields));
    }

    /// The fields, sorted. Those of the targeting and biases that have PEFT's default are left out: not every type
    /// knows all of them, and PEFT warns of fields that a type does not know.
    public Map<String, @Nullable Object> fields() {
        Map<String, @Nullable Object> fields = new TreeMap<>(description);
        fields.put("peft_type", recipe.peftType());
        fields.put("inference_mode", true);
        switch (biases) {
            case NONE -> {}
            case ALL -> fields.put("bias", "all");
            case ADAPTED -> fields.put("bias", recipe.peftType().toLowerCase(Locale.ROOT) + "_only");
        }
        fields.putIfAbsent("task_type", null);
        fields.putIfAbsent("base_model_name_or_path", null);
        fields.putAll(recipe.fields());
        if (!tokens.isEmpty()) {
            fields.put("trainable_token_indices", tokens);
        }
        fields.putAll(targeting.fields());
        return fields;
    }
}
