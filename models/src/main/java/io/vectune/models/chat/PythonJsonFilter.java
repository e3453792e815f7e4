package io.vectune.models.chat;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.filter.Filter;
import io.vectune.runtime.file.StrictJson;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// `tojson` as transformers defines it for chat templates: Python's `json.dumps(value, ensure_ascii=False)` with an
/// optional indent. Nothing is escaped for HTML.
final class PythonJsonFilter implements Filter {
    @Override
    public String getName() {
        return "tojson";
    }

    @Override
    public @Nullable Object filter(@Nullable Object value, JinjavaInterpreter interpreter, String... arguments) {
        return filter(value, interpreter, arguments, Map.of());
    }

    @Override
    public @Nullable Object filter(
            @Nullable Object value, JinjavaInterpreter interpreter, Object[] arguments, Map<String, Object> named) {
        Object indent = named.containsKey("indent") ? named.get("indent") : arguments.length > 0 ? arguments[0] : null;
        StringBuilder out = new StringBuilder();
        write(value, indent == null ? -1 : Integer.parseInt(indent.toString()), 0, out);
        return out.toString();
    }

    private static void write(@Nullable Object value, int indent, int depth, StringBuilder out) {
        switch (value) {
            case null -> out.append("null");
            case Map<?, ?> map -> {
                out.append('{');
                Iterator<? extends Map.Entry<?, ?>> entries = map.entrySet().iterator();
                while (entries.hasNext()) {
                    Map.Entry<?, ?> entry = entries.next();
                    newLine(indent, depth + 1, out);
                    write(String.valueOf(entry.getKey()), indent, depth, out);
                    out.append(": ");
                    write(entry.getValue(), indent, depth + 1, out);
                    out.append(entries.hasNext() ? (indent < 0 ? ", " : ",") : "");
                }
                if (!map.isEmpty()) {
                    newLine(indent, depth, out);
                }
                out.append('}');
            }
            case List<?> list -> {
                out.append('[');
                for (int i = 0; i < list.size(); i++) {
                    newLine(indent, depth + 1, out);
                    write(list.get(i), indent, depth + 1, out);
                    out.append(i + 1 < list.size() ? (indent < 0 ? ", " : ",") : "");
                }
                if (!list.isEmpty()) {
                    newLine(indent, depth, out);
                }
                out.append(']');
            }
            case Number number -> out.append(number);
            case Boolean truth -> out.append(truth);
            default -> out.append(StrictJson.mapper().writeValueAsString(value.toString()));
        }
    }

    private static void newLine(int indent, int depth, StringBuilder out) {
        if (indent >= 0) {
            out.append('\n').repeat(' ', indent * depth);
        }
    }
}
