package io.vectune.quant.bnb;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.tensor.DType;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// The `quantization_config` of config.json for bitsandbytes: written as transformers' BitsAndBytesConfig does, and
/// checked against the tensors that are found.
final class BnbQuantizationConfig {
    private static final double OUTLIER_THRESHOLD = 6.0;

    private BnbQuantizationConfig() {}

    /// For 4-bit weights.
    static ObjectNode fourBit(FourBitConfig config, DType computeDtype, List<String> skippedModules) {
        ObjectNode node = common(skippedModules, true);
        node.put("bnb_4bit_quant_type", config.type().key());
        node.put("bnb_4bit_use_double_quant", config.doubleQuant());
        node.put("bnb_4bit_compute_dtype", QuantState.torchName(computeDtype));
        node.put("bnb_4bit_quant_storage", QuantState.torchName(config.storageDtype()));
        return node;
    }

    /// For int8 weights.
    static ObjectNode int8(List<String> skippedModules) {
        ObjectNode node = common(skippedModules, false);
        node.put("bnb_4bit_quant_type", "fp4");
        node.put("bnb_4bit_use_double_quant", false);
        node.put("bnb_4bit_compute_dtype", "float32");
        node.put("bnb_4bit_quant_storage", "uint8");
        return node;
    }

    private static ObjectNode common(List<String> skippedModules, boolean fourBit) {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        ObjectNode node = nodes.objectNode();
        node.put("quant_method", "bitsandbytes");
        node.put("_load_in_8bit", !fourBit);
        node.put("_load_in_4bit", fourBit);
        node.put("load_in_8bit", !fourBit);
        node.put("load_in_4bit", fourBit);
        node.put("llm_int8_threshold", OUTLIER_THRESHOLD);
        if (skippedModules.isEmpty()) {
            node.putNull("llm_int8_skip_modules");
        } else {
            node.set(
                    "llm_int8_skip_modules",
                    nodes.arrayNode().addAll(skippedModules.stream().map(nodes::stringNode).toList()));
        }
        node.put("llm_int8_enable_fp32_cpu_offload", false);
        node.put("llm_int8_has_fp16_weight", false);
        return node;
    }

    /// Refuses a configuration that says something else than a 4-bit tensor does.
    static void check(@Nullable JsonNode config, String tensor, QuantState state) {
        if (config == null) {
            return;
        }
        checkMethod(config, tensor, "load_in_4bit");
        JsonNode type = config.path("bnb_4bit_quant_type");
        if (type.isString() && !type.asString().equals(state.type().key())) {
            throw contradiction(tensor, "bnb_4bit_quant_type " + type.asString(), state.type().key());
        }
        JsonNode nested = config.path("bnb_4bit_use_double_quant");
        if (nested.isBoolean() && nested.asBoolean() != state.nested()) {
            throw contradiction(
                    tensor,
                    "bnb_4bit_use_double_quant " + nested.asBoolean(),
                    state.nested() ? "double quantization" : "plain absmax values");
        }
    }

    /// Refuses a configuration that says something else than an int8 tensor does.
    static void checkInt8(@Nullable JsonNode config, String tensor) {
        if (config != null) {
            checkMethod(config, tensor, "load_in_8bit");
        }
    }

    private static void checkMethod(JsonNode config, String tensor, String flag) {
        JsonNode method = config.path("quant_method");
        if (method.isString() && !method.asString().equals("bitsandbytes")) {
            throw contradiction(tensor, "quant_method " + method.asString(), "of bitsandbytes");
        }
        JsonNode load = config.path(flag);
        if (load.isBoolean() && !load.asBoolean()) {
            throw contradiction(tensor, flag + " false", flag.equals("load_in_4bit") ? "4-bit" : "int8");
        }
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
