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

/// The reviewed file of what is guarded, as it holds for one machine.
///
/// A JSON object: `entries`, each a [GuardEntry] but for its share, and `machines`, each with `processor`,
/// `vectorBits`, `recorded` (the circumstances, for people) and the `shares` by name of entry that were recorded on it.
/// An entry may have a `share` itself, which holds for any machine.
///
/// @param machine that the shares were recorded on: the one at hand if the file has it, else the first with vectors as
///   wide, else the first
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

    /// Reads a baseline for the machine at hand.
    ///
    /// @throws FileFormatException if it is no such file
    public static GuardBaseline read(Path file, Machine here) {
        try {
            JsonNode root = new JsonMapper().readTree(file.toFile());
            JsonNode machine = nearest(root.path("machines"), here);
            List<GuardEntry> entries = new ArrayList<>();
            for (JsonNode node : root.path("entries")) {
                double own = node.path("share").asDouble(0);
                entries.add(entry(node, machine.path("shares").path(text(node, "name")).asDouble(own)));
            }
            if (entries.isEmpty()) {
                throw new FileFormatException(file + ": expected entries, found none");
            }
            return new GuardBaseline(machine(machine), entries);
        } catch (JacksonException | IllegalArgumentException unfit) {
            throw new FileFormatException(file + ": " + unfit.getMessage(), unfit);
        }
    }

    /// The machine at hand, else the first with vectors as wide, else the first.
    private static JsonNode nearest(JsonNode machines, Machine here) {
        JsonNode found = machines.path(0);
        boolean alike = false;
        for (JsonNode each : machines) {
            if (machine(each).equals(here)) {
                return each;
            }
            if (!alike && machine(each).vectorBits() == here.vectorBits()) {
                alike = true;
                found = each;
            }
        }
        return found;
    }

    /// Writes the file again with the shares that were found on a machine, in place of those it had for it, and least
    /// ratios that hold on all its machines. An entry and a share a line, for review.
    ///
    /// @param circumstances of the measurement, for people
    public static void record(
            Path file, Map<String, Measurement> found, Machine here, Map<String, String> circumstances)
            throws IOException {
        JsonMapper mapper = new JsonMapper();
        JsonNode old = mapper.readTree(file.toFile());
        StringJoiner machines = new StringJoiner(",\n    ", "  \"machines\": [\n    ", "\n  ],\n");
        boolean others = false;
        JsonNode shares = mapper.createObjectNode();
        for (JsonNode machine : old.path("machines")) {
            if (machine(machine).equals(here)) {
                shares = machine.path("shares");
            } else {
                others = true;
                machines.add(line(mapper, machine(machine), machine.path("recorded"), machine.path("shares")));
            }
        }
        ObjectNode now = mapper.createObjectNode();
        StringJoiner entries = new StringJoiner(",\n    ", "  \"entries\": [\n    ", "\n  ]\n");
        for (JsonNode node : old.path("entries")) {
            ObjectNode entry = (ObjectNode) node;
            String name = text(entry, "name");
            Measurement measurement = found.get(name);
            if (measurement == null) {
                if (shares.has(name)) {
                    now.set(name, shares.path(name));
                }
            } else {
                now.put(name, Math.round(10 * measurement.share()) / 10.0);
                Measurement other = found.get(entry.path("relativeTo").asString(""));
                if (other != null) {
                    double ratio = Math.round(10 * RATIO_TOLERANCE * measurement.rate() / other.rate()) / 10.0;
                    entry.put("minRatio", others ? Math.min(ratio, entry.path("minRatio").asDouble(ratio)) : ratio);
                }
            }
            entries.add(mapper.writeValueAsString(entry));
        }
        ObjectNode about = mapper.createObjectNode();
        circumstances.forEach(about::put);
        machines.add(line(mapper, here, about, now));
        Files.writeString(file, "{\n" + machines + entries + "}\n", StandardCharsets.UTF_8);
    }

    private static String line(JsonMapper mapper, Machine machine, JsonNode recorded, JsonNode shares) {
        StringJoiner lines = new StringJoiner(",\n        ", "{\n        ", "}");
        shares.properties()
                .forEach(share -> lines.add(mapper.writeValueAsString(share.getKey()) + ": " + share.getValue()));
        return "{\"processor\": "
                + mapper.writeValueAsString(machine.processor())
                + ", \"vectorBits\": "
                + machine.vectorBits()
                + ",\n      \"recorded\": "
                + mapper.writeValueAsString(recorded)
                + ",\n      \"shares\": "
                + lines
                + "}";
    }

    private static Machine machine(JsonNode node) {
        return new Machine(node.path("processor").asString(""), node.path("vectorBits").asInt(0));
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

    private static GuardEntry entry(JsonNode node, double share) {
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
                share,
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
