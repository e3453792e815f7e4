package io.vectune.jmh.guard;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.compute.ProcessorName;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.StringJoiner;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// The reviewed file of what is guarded: a JSON object with `processor`, `vectorBits` and `entries`, each a
/// [GuardEntry].
///
/// @param machine that the shares were recorded on
/// @param entries in the order in which they run
public record GuardBaseline(Machine machine, List<GuardEntry> entries) {
    /// A kind of machine, as far as shares of its limits depend on it.
    ///
    /// @param processor its name; empty in a baseline that holds for any
    /// @param vectorBits width of its vectors; 0 in a baseline that holds for any
    public record Machine(String processor, int vectorBits) {
        /// The machine at hand.
        public static Machine here() {
            return new Machine(ProcessorName.current(), KernelTier.choice().vectorBits());
        }

        @Override
        public String toString() {
            return processor + " with vectors of " + vectorBits + " bits";
        }
    }

    private static final double DEFAULT_TOLERANCE = 0.8;
    private static final double DEFAULT_MAX_BYTES = 1;

    /// The fraction of a measured ratio that is recorded as the least.
    private static final double RATIO_TOLERANCE = 0.7;

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
            JsonNode root = new JsonMapper().readTree(file.toFile());
            for (JsonNode node : root.path("entries")) {
                entries.add(entry(node));
            }
            if (entries.isEmpty()) {
                throw new FileFormatException(file + ": expected entries, found none");
            }
            Machine machine = new Machine(root.path("processor").asString(""), root.path("vectorBits").asInt(0));
            return new GuardBaseline(machine, entries);
        } catch (JacksonException | IllegalArgumentException unfit) {
            throw new FileFormatException(file + ": " + unfit.getMessage(), unfit);
        }
    }

    /// Writes the file again with the shares and ratios that were found, an entry a line, for review.
    ///
    /// @param machine it was measured on
    /// @param circumstances of the measurement, for people
    public static void record(
            Path file, Map<String, Measurement> found, Machine machine, Map<String, String> circumstances)
            throws IOException {
        JsonMapper mapper = new JsonMapper();
        JsonNode old = mapper.readTree(file.toFile());
        ObjectNode about = mapper.createObjectNode();
        circumstances.forEach(about::put);
        StringJoiner lines = new StringJoiner(",\n    ", "  \"entries\": [\n    ", "\n  ]\n");
        for (JsonNode node : old.path("entries")) {
            ObjectNode entry = (ObjectNode) node;
            Measurement measurement = found.get(text(entry, "name"));
            if (measurement != null) {
                entry.put("share", Math.round(10 * measurement.share()) / 10.0);
                entry.put("spread", Math.round(100 * measurement.spread()) / 100.0);
                Measurement other = found.get(entry.path("relativeTo").asString(""));
                if (other != null) {
                    double ratio = measurement.rate() / other.rate();
                    entry.put("minRatio", Math.round(10 * RATIO_TOLERANCE * ratio) / 10.0);
                }
            }
            lines.add(mapper.writeValueAsString(entry));
        }
        Files.writeString(
                file,
                "{\n  \"processor\": "
                        + mapper.writeValueAsString(machine.processor())
                        + ",\n  \"vectorBits\": "
                        + machine.vectorBits()
                        + ",\n  \"recorded\": "
                        + mapper.writeValueAsString(about)
                        + ",\n"
                        + lines
                        + "}\n",
                StandardCharsets.UTF_8);
    }

    /// The entry of a name; null if there is none.
    public @Nullable GuardEntry find(@Nullable String name) {
        return entries.stream().filter(entry -> entry.name().equals(name)).findFirst().orElse(null);
    }

    /// The entries whose names match, and those that they are relative to.
    public GuardBaseline only(Pattern names) {
        Set<String> kept = new HashSet<>();
        for (GuardEntry entry : entries) {
            if (names.matcher(entry.name()).find()) {
                kept.add(entry.name());
                if (entry.relativeTo() != null) {
                    kept.add(entry.relativeTo());
                }
            }
        }
        return new GuardBaseline(machine, entries.stream().filter(entry -> kept.contains(entry.name())).toList());
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
