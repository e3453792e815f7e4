package io.vectune.adapters.kind;

import io.vectune.adapters.ConfigFields;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Dropouts that a kind does not draw in training. An adapter that was trained with them computes the same as any other
/// and keeps the fields in its files; only training it further is refused.
///
/// @param fields field to value, as the configuration has them, in a fixed order
record UndrawnDropouts(Map<String, Object> fields) {
    UndrawnDropouts {
        fields = Collections.unmodifiableMap(new LinkedHashMap<>(fields));
    }

    /// Reads probabilities.
    static UndrawnDropouts read(ConfigFields fields, String... names) {
        Map<String, Object> values = new LinkedHashMap<>();
        for (String name : names) {
            values.put(name, fields.probability(name));
        }
        return new UndrawnDropouts(values);
    }

    /// The first dropout that is not zero, with its value, or null.
    @Nullable String untrainable() {
        return fields.entrySet().stream()
                .filter(entry -> !entry.getValue().equals(0.0))
                .map(entry -> entry.getKey() + " = " + entry.getValue())
                .findFirst()
                .orElse(null);
    }
}
