package io.vectune.adapters.file;

import io.vectune.runtime.file.StrictJson;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// JSON objects as plain maps and back.
final class JsonFields {
    private JsonFields() {}

    /// The fields of an object in file order; null values are left out.
    static Map<String, Object> of(ObjectNode node) {
        Map<String, Object> fields = new LinkedHashMap<>();
        for (Map.Entry<String, JsonNode> entry : node.properties()) {
            Object value = value(entry.getValue());
            if (value != null) {
                fields.put(entry.getKey(), value);
            }
        }
        return fields;
    }

    private static @Nullable Object value(JsonNode node) {
        return switch (node) {
            case ObjectNode object -> of(object);
            case ArrayNode array -> {
                List<Object> list = new ArrayList<>();
                for (JsonNode element : array) {
                    Object value = value(element);
                    if (value != null) {
                        list.add(value);
                    }
                }
                yield list;
            }
            default -> {
                if (node.isNull()) {
                    yield null;
                } else if (node.isBoolean()) {
                    yield node.booleanValue();
                } else if (node.isIntegralNumber() && node.canConvertToInt()) {
                    yield node.intValue();
                } else if (node.isNumber()) {
                    yield node.doubleValue();
                } else {
                    yield node.asString();
                }
            }
        };
    }

    /// The fields as a JSON object, in the map's order.
    static ObjectNode node(Map<String, ? extends @Nullable Object> fields) {
        return StrictJson.mapper().valueToTree(fields);
    }
}
