package io.vectune.models.data;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.StrictJson;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// One line of a .jsonl file, with typed access that names the line in its errors.
final class DataLine {
    private final String origin;
    private final ObjectNode object;
    private final RowKind kind;

    /// @param origin file and line, for messages
    DataLine(String origin, String line) {
        this.origin = origin;
        // A byte order mark belongs to the file, not to its first line.
        this.object = StrictJson.parseObject(line.startsWith("\ufeff") ? line.substring(1) : line, origin);
        this.kind = findKind();
    }

    private RowKind findKind() {
        List<RowKind> found = new ArrayList<>();
        if (object.has("text")) {
            found.add(RowKind.TEXT);
        }
        if (object.has("prompt") || object.has("completion")) {
            found.add(RowKind.COMPLETION);
        }
        if (object.has("messages")) {
            found.add(RowKind.MESSAGES);
        }
        if (object.has("input_ids")) {
            found.add(RowKind.INPUT_IDS);
        }
        if (found.size() != 1) {
            throw problem(
                    "expected the keys text, or prompt and completion, or messages, or input_ids; found "
                            + String.join(", ", object.propertyNames()));
        }
        return found.getFirst();
    }

    RowKind kind() {
        return kind;
    }

    FileFormatException problem(String what) {
        return new FileFormatException(origin + ": " + what);
    }

    /// A string that must be there.
    String text(String key) {
        JsonNode node = object.get(key);
        if (node == null || !node.isString()) {
            throw problem("expected a string " + key + ", found " + describe(node));
        }
        return node.asString();
    }

    /// An array of whole numbers, if it is there.
    int @Nullable [] integers(String key) {
        JsonNode node = object.get(key);
        if (node == null) {
            return null;
        }
        if (!node.isArray()) {
            throw problem("expected an array " + key + " of whole numbers, found " + describe(node));
        }
        int[] values = new int[node.size()];
        for (int i = 0; i < values.length; i++) {
            JsonNode element = node.get(i);
            if (!element.isIntegralNumber() || !element.canConvertToInt()) {
                throw problem(key + "[" + i + "]: expected a whole number, found " + element);
            }
            values[i] = element.asInt();
        }
        return values;
    }

    /// The conversation.
    List<Map<String, Object>> messages() {
        JsonNode node = object.get("messages");
        if (node == null || !node.isArray() || node.isEmpty()) {
            throw problem("expected a non-empty array messages, found " + describe(node));
        }
        List<Map<String, Object>> messages = new ArrayList<>();
        for (JsonNode element : node) {
            if (!(element instanceof ObjectNode message) || !message.path("role").isString()) {
                throw problem(
                        "messages[" + messages.size() + "]: expected an object with a string role, found " + element);
            }
            if (!message.has("content") && !message.has("tool_calls")) {
                throw problem("messages[" + messages.size() + "]: has no content");
            }
            Map<String, Object> fields = new LinkedHashMap<>();
            for (Map.Entry<String, JsonNode> field : message.properties()) {
                Object value = StrictJson.mapper().treeToValue(field.getValue(), Object.class);
                if (value != null) {
                    fields.put(field.getKey(), value);
                }
            }
            messages.add(fields);
        }
        return messages;
    }

    private static String describe(@Nullable JsonNode node) {
        return node == null ? "none" : StrictJson.kind(node);
    }
}
