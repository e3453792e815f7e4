package io.vectune.jmh.guard;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// The shares of earlier runs, a JSON object a line, and their plot.
///
/// @param file the history; it need not exist
public record GuardHistory(Path file) {
    private static final int WIDTH = 900;
    private static final int HEIGHT = 520;
    private static final int LEFT = 50;
    private static final int RIGHT = 300;
    private static final int TOP = 20;
    private static final int BOTTOM = 40;
    private static final List<String> COLORS =
            List.of("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b8860b", "#2a9d8f", "#6c757d", "#d1495b");

    /// Adds a line.
    public void append(String line) throws IOException {
        Path parent = file.toAbsolutePath().getParent();
        if (parent != null) {
            Files.createDirectories(parent);
        }
        Files.writeString(
                file, line + "\n", StandardCharsets.UTF_8, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /// Where the plot lies: beside the history.
    public Path plotFile() {
        return file.resolveSibling(file.getFileName() + ".svg");
    }

    /// A plot of all shares over the runs, as SVG.
    public String plot() throws IOException {
        List<JsonNode> runs = new ArrayList<>();
        for (String line : Files.readAllLines(file, StandardCharsets.UTF_8)) {
            runs.add(new JsonMapper().readTree(line));
        }
        Map<String, StringBuilder> lines = new LinkedHashMap<>();
        for (int run = 0; run < runs.size(); run++) {
            double x = x(run, runs.size());
            for (Map.Entry<String, JsonNode> share : runs.get(run).path("shares").properties()) {
                double y = y(share.getValue().asDouble());
                lines.computeIfAbsent(share.getKey(), name -> new StringBuilder())
                        .append(String.format(Locale.ROOT, "%.1f,%.1f ", x, y));
            }
        }
        StringBuilder svg = new StringBuilder();
        svg.append(
                String.format(
                        Locale.ROOT,
                        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\""
                                + " font-size=\"11\">%n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>%n",
                        WIDTH,
                        HEIGHT));
        for (int percent = 0; percent <= 100; percent += 20) {
            svg.append(
                    String.format(
                            Locale.ROOT,
                            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                                    + "<text x=\"8\" y=\"%.1f\">%d %%</text>%n",
                            LEFT,
                            WIDTH - RIGHT,
                            y(percent),
                            y(percent),
                            y(percent) + 4,
                            percent));
        }
        int labelled = Math.max(1, runs.size() / 8);
        for (int run = 0; run < runs.size(); run += labelled) {
            svg.append(
                    String.format(
                            Locale.ROOT,
                            "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#666\">%s</text>%n",
                            x(run, runs.size()),
                            HEIGHT - BOTTOM + 14,
                            escaped(runs.get(run).path("commit").asString(""))));
        }
        int series = 0;
        for (Map.Entry<String, StringBuilder> line : lines.entrySet()) {
            String color = COLORS.get(series % COLORS.size());
            svg.append(
                    String.format(
                            Locale.ROOT,
                            "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"%s\"/>"
                                    + "<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>%n",
                            color,
                            line.getValue().toString().strip(),
                            WIDTH - RIGHT + 10,
                            TOP + 14 * (series + 1),
                            color,
                            escaped(line.getKey())));
            series++;
        }
        svg.append(
                String.format(
                        Locale.ROOT,
                        "<text x=\"%d\" y=\"%d\">share of the limit measured in the same fork, %d runs</text>%n</svg>%n",
                        LEFT,
                        HEIGHT - 6,
                        runs.size()));
        return svg.toString();
    }

    private static double x(int run, int runs) {
        return LEFT + (WIDTH - LEFT - RIGHT) * (runs == 1 ? 0.5 : (double) run / (runs - 1));
    }

    private static double y(double percent) {
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(100, Math.max(0, percent)) / 100);
    }

    private static String escaped(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;");
    }
}
