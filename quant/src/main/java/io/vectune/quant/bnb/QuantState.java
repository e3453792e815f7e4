package io.vectune.quant.bnb;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import tools.jackson.databind.JsonNode;

/// The JSON that a 4-bit layer carries as a tensor of bytes, `weight.quant_state.bitsandbytes__nf4`.
///
///     {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [3072, 64]}
///     and, where absmax is quantized: "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0433
///
/// Written with Python's separators and digits. The length of a nested one is made known before the offset is: it is
/// filled up with blanks behind the closing brace.
///
/// @param type NF4 or FP4
/// @param blockSize weights that share an absmax
/// @param dtype type of the weight when it was quantized
/// @param outFeatures rows; 1 for a vector
/// @param inFeatures columns
/// @param nested whether the absmax values are quantized
/// @param nestedBlockSize blocks that share a nested absmax
/// @param nestedOffset mean of the absmax values
record QuantState(
        FourBitType type,
        int blockSize,
        DType dtype,
        int outFeatures,
        int inFeatures,
        boolean nested,
        int nestedBlockSize,
        float nestedOffset) {
    /// The longest a double is in Python: sign, 17 digits, point, e-308.
    private static final int LONGEST_NUMBER = 24;

    /// The state of a weight.
    static QuantState of(FourBitWeight weight) {
        BlockAbsmax absmax = weight.absmax();
        return new QuantState(
                weight.config().type(),
                weight.config().blockSize(),
                weight.computeDtype(),
                weight.outFeatures(),
                weight.inFeatures(),
                absmax.isNested(),
                absmax.nestedBlockSize(),
                absmax.nestedOffset());
    }

    /// Parses the tensor of that name.
    ///
    /// @throws FileFormatException if it is not such a JSON
    static QuantState parse(String origin, String key, Tensor tensor) {
        String name = origin + ": " + key;
        if (tensor.dtype() != DType.U8) {
            throw new FileFormatException(name + ": expected U8 bytes of JSON, found " + tensor);
        }
        String text = new String(tensor.segment().toArray(Tensor.BYTE), StandardCharsets.UTF_8);
        JsonNode json = StrictJson.parseObject(text, name);
        FourBitType type = type(name, string(name, json, "quant_type"));
        if (!key.endsWith("bitsandbytes__" + type.key())) {
            throw new FileFormatException(
                    name + ": the key and quant_type " + type.key() + " of its JSON contradict each other");
        }
        int blockSize = integer(name, json, "blocksize");
        try {
            FourBitConfig.checkBlockSize(blockSize);
        } catch (IllegalArgumentException unknown) {
            throw new FileFormatException(name + ": " + unknown.getMessage(), unknown);
        }
        boolean nested = json.has("nested_blocksize") || json.has("nested_offset");
        int nestedBlockSize = nested ? integer(name, json, "nested_blocksize") : 1;
        if (nestedBlockSize < 1) {
            throw new FileFormatException(name + ": nested_blocksize: expected at least 1, found " + nestedBlockSize);
        }
        float offset = nested ? offset(name, json) : 0;
        int[] shape = shape(name, json);
        DType dtype = dtype(name, string(name, json, "dtype"));
        return new QuantState(type, blockSize, dtype, shape[0], shape[1], nested, nestedBlockSize, offset);
    }

    private static FourBitType type(String name, String text) {
        for (FourBitType type : FourBitType.values()) {
            if (type.key().equals(text)) {
                return type;
            }
        }
        throw new FileFormatException(name + ": quant_type: expected nf4 or fp4, found " + text);
    }

    private static DType dtype(String name, String text) {
        return switch (text) {
            case "float32" -> DType.F32;
            case "float16" -> DType.F16;
            case "bfloat16" -> DType.BF16;
            default ->
                    throw new FileFormatException(
                            name + ": dtype: expected float32, float16 or bfloat16, found " + text);
        };
    }

    /// The name that torch gives an element type.
    static String torchName(DType dtype) {
        return switch (dtype) {
            case F32 -> "float32";
            case F16 -> "float16";
            case BF16 -> "bfloat16";
            case U8 -> "uint8";
            default -> dtype.name().toLowerCase(Locale.ROOT);
        };
    }

    private static int[] shape(String name, JsonNode json) {
        JsonNode shape = json.path("shape");
        if (!shape.isArray() || shape.isEmpty() || shape.size() > 2) {
            throw new FileFormatException(name + ": shape: expected [outFeatures, inFeatures], found " + shape);
        }
        int[] sizes = {1, 1};
        for (int axis = 0; axis < shape.size(); axis++) {
            JsonNode size = shape.get(axis);
            if (!size.isInt() || size.asInt() < 0) {
                throw new FileFormatException(name + ": shape: expected [outFeatures, inFeatures], found " + shape);
            }
            sizes[axis + 2 - shape.size()] = size.asInt();
        }
        return sizes;
    }

    private static float offset(String name, JsonNode json) {
        JsonNode node = json.path("nested_offset");
        if (!node.isNumber() || !Float.isFinite((float) node.asDouble())) {
            throw new FileFormatException(name + ": nested_offset: expected a finite number, found " + node);
        }
        return (float) node.asDouble();
    }

    private static String string(String name, JsonNode json, String field) {
        JsonNode node = json.path(field);
        if (!node.isString()) {
            throw new FileFormatException(name + ": " + field + ": expected a string, found " + node);
        }
        return node.asString();
    }

    private static int integer(String name, JsonNode json, String field) {
        JsonNode node = json.path(field);
        if (!node.isInt()) {
            throw new FileFormatException(name + ": " + field + ": expected a whole number, found " + node);
        }
        return node.asInt();
    }

    /// The JSON in UTF-8, [#encodedLength] bytes.
    byte[] encode() {
        String text = text(pythonNumber(nestedOffset));
        return (text + " ".repeat(encodedLength() - text.length())).getBytes(StandardCharsets.UTF_8);
    }

    /// Bytes of [#encode], whatever the offset.
    int encodedLength() {
        return text(nested ? "0".repeat(LONGEST_NUMBER) : "").length();
    }

    private String text(String offset) {
        StringBuilder text = new StringBuilder(160);
        text.append("{\"quant_type\": \"").append(type.key());
        text.append("\", \"blocksize\": ").append(blockSize);
        text.append(", \"dtype\": \"").append(torchName(dtype));
        text.append("\", \"shape\": [").append(outFeatures).append(", ").append(inFeatures).append(']');
        if (nested) {
            text.append(", \"nested_blocksize\": ").append(nestedBlockSize);
            text.append(", \"nested_dtype\": \"float32\", \"nested_offset\": ").append(offset);
        }
        return text.append('}').toString();
    }

    /// A number as Python's `repr` gives it: shortest digits, an exponent of two digits below 1e-4 and from 1e16 on.
    static String pythonNumber(double value) {
        double size = Math.abs(value);
        if (size == 0) {
            return Double.toString(value);
        }
        BigDecimal digits = new BigDecimal(Double.toString(value)).stripTrailingZeros();
        int exponent = digits.precision() - digits.scale() - 1;
        if (size >= 1e-4 && size < 1e16) {
            String plain = digits.toPlainString();
            return plain.contains(".") ? plain : plain + ".0";
        }
        String mantissa = digits.movePointLeft(exponent).toPlainString();
        return String.format(Locale.ROOT, "%se%s%02d", mantissa, exponent < 0 ? "-" : "+", Math.abs(exponent));
    }
}
