package io.vectune.quant.hqq;

import io.vectune.runtime.FileFormatException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// What config.json says about HQQ layers, held against the layers themselves. Their own tensors describe them
/// completely, so a configuration that says something else belongs to another checkpoint.
///
/// `quant_config` holds one set of parameters for all layers, or one a kind of layer (`self_attn.q_proj`). A checkpoint
/// whose layers have several widths says so with [#MIXED]: transformers has no place for them.
final class HqqDeclaration {
    /// The key that says that widths differ by layer.
    static final String MIXED = "nbits_by_layer";

    private HqqDeclaration() {}

    /// Refuses a configuration that contradicts a layer.
    ///
    /// @param config `quantization_config`, or null
    /// @param origin what messages call the checkpoint
    static void check(@Nullable JsonNode config, String origin, String layer, HqqWeight weight) {
        if (config == null || !config.isObject()) {
            return;
        }
        String where = origin + ": " + layer + ".W_q";
        JsonNode method = config.path("quant_method");
        if (method.isString() && !method.asString().equals("hqq")) {
            throw contradiction(where, "quant_method " + method.asString(), "of hqq");
        }
        JsonNode all = config.path("quant_config");
        JsonNode parameters = all.has("weight_quant_params") ? all : all.path(tag(layer));
        JsonNode weights = parameters.path("weight_quant_params");
        if (!weights.isObject()) {
            weights = parameters;
        }
        HqqGeometry geometry = weight.geometry();
        JsonNode axis = weights.path("axis");
        if (axis.isNumber() && axis.asInt() != geometry.axis()) {
            throw contradiction(where, "axis " + axis.asInt(), "of axis " + geometry.axis());
        }
        JsonNode group = weights.path("group_size");
        if (group.isNumber() && group.asInt() != geometry.groupSize()) {
            throw contradiction(where, "group_size " + group.asInt(), "in groups of " + geometry.groupSize());
        }
        JsonNode bits = weights.path("nbits");
        if (bits.isNumber() && !config.path(MIXED).asBoolean(false) && !agrees(bits.asDouble(), weight.bits())) {
            throw contradiction(where, "nbits " + bits, "of " + weight.bits().text() + " bits");
        }
    }

    /// transformers reads 1.58 back as 1.
    private static boolean agrees(double bits, HqqBits found) {
        double own = Double.parseDouble(found.text());
        return bits == own || (found == HqqBits.TERNARY && Math.floor(bits) == 1);
    }

    /// The name without `model`, `layers` and numbers: `self_attn.q_proj`.
    private static String tag(String layer) {
        List<String> parts = new ArrayList<>();
        for (String part : layer.split("\\.", -1)) {
            boolean number = !part.isEmpty() && part.chars().allMatch(Character::isDigit);
            if (!number && !part.equals("model") && !part.equals("layers")) {
                parts.add(part);
            }
        }
        return String.join(".", parts);
    }

    private static FileFormatException contradiction(String tensor, String says, String found) {
        return new FileFormatException(
                tensor
                        + ": quantization_config of config.json says "
                        + says
                        + ", but the tensor is "
                        + found
                        + "; the two are not of one model, fetch both again");
    }
}
