package io.vectune.models.flux.file;

import io.vectune.adapters.target.ModulePatterns;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.StrictJson;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// The scale of layers without an alpha of their own: from the configuration of PEFT that lies beside the tensors or in
/// their file's metadata, else 1.
///
/// @param alpha null if there is no configuration
/// @param rsLora scale = alpha / sqrt(rank) instead of alpha / rank
/// @param patterns alphas of modules that match
record AlphaRule(@Nullable Double alpha, boolean rsLora, Map<String, Double> patterns) {
    static final AlphaRule NONE = new AlphaRule(null, false, Map.of());

    /// Where diffusers keeps the configuration of an adapter.
    static final String METADATA = "lora_adapter_metadata";

    /// adapter_config.json of a PEFT directory.
    static AlphaRule ofFile(Path file) {
        return of(StrictJson.readObject(file), "", file.toString());
    }

    /// The metadata that diffusers writes: the fields of the configuration, with the part of the pipeline before them.
    static AlphaRule ofMetadata(String json, String origin) {
        return of(StrictJson.parseObject(json, origin + ": metadata " + METADATA), "transformer.", origin);
    }

    private static AlphaRule of(ObjectNode fields, String prefix, String origin) {
        if (isTrue(fields.get(prefix + "use_dora"))) {
            throw new FileFormatException(
                    origin + ": use_dora: expected false, found true; DoRA on Flux transformers is not supported");
        }
        JsonNode alpha = fields.get(prefix + "lora_alpha");
        Map<String, Double> patterns = new LinkedHashMap<>();
        if (fields.get(prefix + "alpha_pattern") instanceof ObjectNode object) {
            for (Map.Entry<String, JsonNode> entry : object.properties()) {
                if (!entry.getValue().isNumber()) {
                    throw new FileFormatException(
                            origin
                                    + ": alpha_pattern "
                                    + entry.getKey()
                                    + ": expected a number, found "
                                    + entry.getValue());
                }
                patterns.put(entry.getKey(), entry.getValue().doubleValue());
            }
        }
        if (alpha != null && !alpha.isNull() && !alpha.isNumber()) {
            throw new FileFormatException(origin + ": lora_alpha: expected a number, found " + alpha);
        }
        Double value = alpha != null && alpha.isNumber() ? (Double) alpha.doubleValue() : null;
        return new AlphaRule(value, isTrue(fields.get(prefix + "use_rslora")), patterns);
    }

    private static boolean isTrue(@Nullable JsonNode node) {
        return node != null && node.isBoolean() && node.booleanValue();
    }

    /// The scale of a module's update.
    float scale(String module, int rank) {
        double found = ModulePatterns.value(patterns, module, alpha == null ? Double.NaN : alpha);
        return Double.isNaN(found) ? 1 : (float) (found / (rsLora ? Math.sqrt(rank) : rank));
    }
}
