package io.vectune.jmh.guard;

import io.vectune.runtime.FileFormatException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The reviewed file of what is guarded: a JSON object with `entries`, each a [GuardEntry].
///
/// @param entries in the order in which they run
public record GuardBaseline(List<GuardEntry> entries) {
    private static final double DEFAULT_TOLERANCE = 0.8;
    private static final double DEFAULT_MAX_BYTES = 1;

    public GuardBaseline {
        entries = List.copyOf(entries);
        Set<String> names = new HashSet<>();
        for (GuardEntry entry : entries) {
            if (!names.add(entry.name())) {
                throw new IllegalArgumentException(entry.name() + ": expected unique names, found it twice");
            }
        }
        for (GuardEntry entry : entries) {
            if (entry.relativeTo() != null && !names.contains(entry.relativeTo())) {
                throw new IllegalArgumentException(
                        entry.name() + ": relativeTo: expected the name of an entry, found " + entry.relativeTo());
            }
        }
    }

    /// Reads a baseline.
    ///
    /// @throws FileFormatException if it is no such file
    public static GuardBaseline read(Path file) {
        try {
            List<GuardEntry> entries = new ArrayList<>();
            for (JsonNode node : new JsonMapper().readTree(file.toFile()).path("entries")) {
                entries.add(entry(node));
            }
            if (entries.isEmpty()) {
                throw new FileFormatException(file + ": expected entries, found none");
            }
            return new GuardBaseline(entries);
        } catch (JacksonException | IllegalArgumentException unfit) {
            throw new FileFormatException(file + ": " + unfit.getMessage(), unfit);
        }
    }

    private static GuardEntry entry(JsonNode node) {
        Map<String, String> parameters = new LinkedHashMap<>();
        node.path("parameters").properties().forEach(each -> parameters.put(each.getKey(), each.getValue().asString()));
        List<String> jvmArgs = new ArrayList<>();
        node.path("jvmArgs").forEach(each -> jvmArgs.add(each.asString()));
        String name = text(node, "name");
        @Nullable String relativeTo = node.has("relativeTo") ? text(node, "relativeTo") : null;
        return new GuardEntry(
                name,
                text(node, "benchmark"),
                parameters,
                jvmArgs,
                text(node, "metric"),
                node.path("share").asDouble(0),
                node.path("tolerance").asDouble(DEFAULT_TOLERANCE),
                node.path("maxBytes").asDouble(DEFAULT_MAX_BYTES),
                relativeTo,
                node.path("minRatio").asDouble(0));
    }

    private static String text(JsonNode node, String field) {
        JsonNode value = node.path(field);
        if (!value.isString()) {
            throw new IllegalArgumentException("expected a text \"" + field + "\" in " + node);
        }
        return value.asString();
    }
}
