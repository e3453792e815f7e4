package io.vectune.adapters.kind;

import io.vectune.adapters.ConfigFields;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StoredShapes;
import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.FileFormatException;
import java.util.LinkedHashMap;
import java.util.Map;

/// The fields of a PEFT LoRA configuration that decide what a layer computes.
///
/// @param rank r, 8 by default
/// @param alpha lora_alpha, 8 by default
/// @param rsLora scaling = alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732)
/// @param dropout probability of zeroing an input element of the low-rank path in training
/// @param loraBias whether lora_B has a bias
/// @param start how the factors start
/// @param rankPattern, alphaPattern other values for modules that match; the first match counts
record LoraConfig(
        int rank,
        double alpha,
        boolean rsLora,
        double dropout,
        boolean loraBias,
        LoraStart start,
        Map<String, Double> rankPattern,
        Map<String, Double> alphaPattern) {

    static LoraConfig read(ConfigFields fields) {
        int rank = fields.integer("r", 8);
        if (rank < 1) {
            throw fields.wrong("r", "a rank of at least 1", rank);
        }
        // They choose start values or how a file was made; what they led to is in the tensors and patterns.
        fields.ignore("use_dora", "megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config");
        fields.ignore("lora_ga_config");
        LoraConfig config =
                new LoraConfig(
                        rank,
                        fields.number("lora_alpha", 8),
                        fields.flag("use_rslora", false),
                        fields.probability("lora_dropout"),
                        fields.flag("lora_bias", false),
                        LoraStart.read(fields),
                        fields.pattern("rank_pattern"),
                        fields.pattern("alpha_pattern"));
        if (config.loraBias && !config.start.isPlain()) {
            throw fields.wrong("lora_bias", "false with init_lora_weights = " + config.start.field(), true);
        }
        return config;
    }

    Map<String, Object> fields(boolean dora) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("r", rank);
        fields.put("lora_alpha", whole(alpha));
        fields.put("use_rslora", rsLora);
        fields.put("use_dora", dora);
        fields.put("lora_dropout", dropout);
        fields.put("lora_bias", loraBias);
        fields.put("init_lora_weights", start.field());
        fields.put("fan_in_fan_out", false);
        Map<String, Object> ranks = new LinkedHashMap<>();
        rankPattern.forEach((pattern, value) -> ranks.put(pattern, whole(value)));
        Map<String, Object> alphas = new LinkedHashMap<>();
        alphaPattern.forEach((pattern, value) -> alphas.put(pattern, whole(value)));
        fields.put("rank_pattern", ranks);
        fields.put("alpha_pattern", alphas);
        return fields;
    }

    private static Number whole(double value) {
        return value == Math.rint(value) && Math.abs(value) < 1e9 ? (Number) (int) value : (Number) value;
    }

    /// The rank of a layer: what rank_pattern says, else r.
    ///
    /// @throws FileFormatException if the stored factors have another one
    int rankOf(LayerSite site, StoredShapes shapes) {
        int rankOfSite = rankOf(site.name());
        requireRank(site.name(), shapes.size("lora_A.weight", 0, rankOfSite));
        return rankOfSite;
    }

    private int rankOf(String module) {
        return (int) ModulePatterns.value(rankPattern, module, rank);
    }

    private void requireRank(String module, int stored) {
        int expected = rankOf(module);
        if (stored != expected) {
            throw new FileFormatException(
                    module
                            + ": lora_A has rank "
                            + stored
                            + ", expected "
                            + expected
                            + " as the configuration's r and rank_pattern say; the two are not of one adapter");
        }
    }

    float scalingOf(LayerSite site, int rankOfSite) {
        return scalingOf(site.name(), rankOfSite);
    }

    /// @throws FileFormatException if the stored factors have another rank than the configuration says
    float storedScaling(String module, int storedRank) {
        requireRank(module, storedRank);
        return scalingOf(module, storedRank);
    }

    private float scalingOf(String module, int rankOfModule) {
        double alphaOfModule = ModulePatterns.value(alphaPattern, module, alpha);
        return (float) (alphaOfModule / (rsLora ? Math.sqrt(rankOfModule) : rankOfModule));
    }
}
