package io.vectune.models.load;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.StrictJson;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// The fields of one JSON object; a missing or mistyped field is reported with the file's name.
///
/// @param origin the file, and the path of the object in it
record JsonFields(String origin, JsonNode object) {
    /// @throws io.vectune.runtime.FileFormatException if the file is not a JSON object
    static JsonFields read(Path file) {
        return new JsonFields(file.toString(), StrictJson.readObject(file));
    }

    /// The value of a field; null if it is absent or JSON null.
    @Nullable JsonNode get(String field) {
        JsonNode value = object.get(field);
        return value == null || value.isNull() ? null : value;
    }

    boolean has(String field) {
        return get(field) != null;
    }

    /// An object inside this one; null if it is absent.
    @Nullable JsonFields child(String field) {
        JsonNode value = get(field);
        if (value == null) {
            return null;
        }
        if (!value.isObject()) {
            throw wrongType(field, "an object", value);
        }
        return new JsonFields(origin + ": " + field, value);
    }

    int needInt(String field) {
        return integer(field, need(field));
    }

    int integer(String field, int absent) {
        JsonNode value = get(field);
        return value == null ? absent : integer(field, value);
    }

    double needDouble(String field) {
        return number(field, need(field));
    }

    double number(String field, double absent) {
        JsonNode value = get(field);
        return value == null ? absent : number(field, value);
    }

    boolean flag(String field, boolean absent) {
        JsonNode value = get(field);
        if (value == null) {
            return absent;
        }
        if (!value.isBoolean()) {
            throw wrongType(field, "true or false", value);
        }
        return value.booleanValue();
    }

    String text(String field, String absent) {
        JsonNode value = get(field);
        if (value == null) {
            return absent;
        }
        if (!value.isString()) {
            throw wrongType(field, "a string", value);
        }
        return value.stringValue();
    }

    /// A number or a list of numbers; empty if the field is absent.
    Set<Integer> integers(String field) {
        Set<Integer> values = new LinkedHashSet<>();
        JsonNode value = get(field);
        if (value != null && value.isArray()) {
            for (JsonNode element : value) {
                values.add(integer(field, element));
            }
        } else if (value != null) {
            values.add(integer(field, value));
        }
        return values;
    }

    private JsonNode need(String field) {
        JsonNode value = get(field);
        if (value == null) {
            throw new FileFormatException(origin + ": the field " + field + " is missing; the model needs it");
        }
        return value;
    }

    private int integer(String field, JsonNode value) {
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw wrongType(field, "an integer", value);
        }
        return value.intValue();
    }

    private double number(String field, JsonNode value) {
        if (!value.isNumber()) {
            throw wrongType(field, "a number", value);
        }
        return value.doubleValue();
    }

    private FileFormatException wrongType(String field, String expected, JsonNode found) {
        return new FileFormatException(origin + ": " + field + ": expected " + expected + ", found " + found);
    }
}
