package io.vectune.models.bench;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.StrictJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Recorded shares of the machine's limits: a JSON file that people review.
///
/// @param threads threads of the team that the shares were recorded with
/// @param vectorBits width of its vectors; 0 in the scalar tier
/// @param entries one a case
public record SpeedBaseline(int threads, int vectorBits, List<Entry> entries) {
    /// One recorded case.
    ///
    /// @param name of the case
    /// @param share percent of its limit
    /// @param tolerance the fraction of the share below which it is called slower
    public record Entry(String name, double share, double tolerance) {
        public Entry {
            if (!(share > 0) || !(tolerance > 0 && tolerance <= 1)) {
                throw new IllegalArgumentException(
                        name + ": expected share > 0 and tolerance in (0, 1], found " + share + " and " + tolerance);
            }
        }

        /// The least share that passes.
        public double leastShare() {
            return share * tolerance;
        }
    }

    public SpeedBaseline {
        entries = List.copyOf(entries);
    }

    /// A baseline of what was measured.
    public static SpeedBaseline of(int threads, int vectorBits, List<SpeedResult> results, double tolerance) {
        List<Entry> entries = new ArrayList<>();
        for (SpeedResult result : results) {
            entries.add(new Entry(result.name(), Math.round(10 * result.share()) / 10.0, tolerance));
        }
        return new SpeedBaseline(threads, vectorBits, entries);
    }

    /// Reads a baseline.
    ///
    /// @throws FileFormatException if it is no such file
    public static SpeedBaseline read(Path file) {
        ObjectNode root = StrictJson.readObject(file);
        List<Entry> entries = new ArrayList<>();
        Set<String> names = new HashSet<>();
        for (JsonNode node : root.path("entries")) {
            String name = node.path("name").asString("");
            try {
                if (!names.add(name)) {
                    throw new IllegalArgumentException(name + ": expected unique names, found it twice");
                }
                entries.add(new Entry(name, number(node, "share"), number(node, "tolerance")));
            } catch (IllegalArgumentException unfit) {
                throw new FileFormatException(file + ": " + unfit.getMessage(), unfit);
            }
        }
        if (entries.isEmpty()) {
            throw new FileFormatException(
                    file + ": expected \"entries\" with name, share and tolerance, found none; make it with --record");
        }
        return new SpeedBaseline(root.path("threads").asInt(0), root.path("vector_bits").asInt(0), entries);
    }

    /// Writes the baseline.
    ///
    /// @param about where and when it was recorded, for people
    public void write(Path file, Map<String, String> about) {
        ObjectNode root = StrictJson.mapper().createObjectNode();
        root.put("threads", threads);
        root.put("vector_bits", vectorBits);
        ObjectNode recorded = root.putObject("recorded");
        about.forEach(recorded::put);
        var list = root.putArray("entries");
        for (Entry entry : entries) {
            list.addObject().put("name", entry.name()).put("share", entry.share()).put("tolerance", entry.tolerance());
        }
        StrictJson.write(file, root);
    }

    private static double number(JsonNode node, String field) {
        JsonNode value = node.path(field);
        if (!value.isNumber()) {
            throw new IllegalArgumentException("expected a number \"" + field + "\" in " + node);
        }
        return value.asDouble();
    }
}
