package io.vectune.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/// A curve of the loss by step: as text for a terminal, as SVG for the report.
///
/// @param losses one value a step, at least one, all finite
record LossPlot(List<Double> losses) {
    private static final int WIDTH_PIXELS = 720;
    private static final int HEIGHT_PIXELS = 300;
    private static final int MARGIN_PIXELS = 48;

    LossPlot {
        losses = List.copyOf(losses);
        if (losses.isEmpty()) {
            throw new IllegalArgumentException("loss plot: expected at least one step, found none");
        }
    }

    /// The curve in `rows` lines of `columns` characters and an axis; each column is the mean of its steps.
    String text(int columns, int rows) {
        double[] means = bucketMeans(columns);
        double low = Arrays.stream(means).min().orElseThrow();
        double high = Arrays.stream(means).max().orElseThrow();
        double span = high > low ? high - low : 1;
        List<String> lines = new ArrayList<>();
        for (int row = rows - 1; row >= 0; row--) {
            StringBuilder line = new StringBuilder();
            double label = low + span * (row + 0.5) / rows;
            line.append(String.format(Locale.ROOT, "%9.4f |", label));
            for (double mean : means) {
                int level = Math.min(rows - 1, (int) ((mean - low) / span * rows));
                line.append(level == row ? '*' : ' ');
            }
            lines.add(line.toString().stripTrailing());
        }
        lines.add(" ".repeat(10) + "+" + "-".repeat(means.length));
        String last = Integer.toString(losses.size());
        lines.add(" ".repeat(11) + "1" + " ".repeat(Math.max(1, means.length - 1 - last.length())) + last + "  step");
        return String.join(System.lineSeparator(), lines);
    }

    private double[] bucketMeans(int columns) {
        int count = Math.min(columns, losses.size());
        double[] means = new double[count];
        for (int bucket = 0; bucket < count; bucket++) {
            int from = (int) ((long) bucket * losses.size() / count);
            int to = (int) ((bucket + 1L) * losses.size() / count);
            means[bucket] = losses.subList(from, to).stream().mapToDouble(Double::doubleValue).average().orElseThrow();
        }
        return means;
    }

    /// The curve as an SVG element that stands by itself or inside an HTML page.
    String svg() {
        double low = losses.stream().mapToDouble(Double::doubleValue).min().orElseThrow();
        double high = losses.stream().mapToDouble(Double::doubleValue).max().orElseThrow();
        double span = high > low ? high - low : 1;
        double plotWidth = WIDTH_PIXELS - 2.0 * MARGIN_PIXELS;
        double plotHeight = HEIGHT_PIXELS - 2.0 * MARGIN_PIXELS;
        StringBuilder points = new StringBuilder();
        for (int step = 0; step < losses.size(); step++) {
            double x = MARGIN_PIXELS + plotWidth * (losses.size() == 1 ? 0.5 : step / (losses.size() - 1.0));
            double y = MARGIN_PIXELS + plotHeight * (high - losses.get(step)) / span;
            points.append(String.format(Locale.ROOT, "%.1f,%.1f ", x, y));
        }
        StringBuilder grid = new StringBuilder();
        for (int line = 0; line <= 4; line++) {
            double y = MARGIN_PIXELS + plotHeight * line / 4;
            grid.append(
                    String.format(
                            Locale.ROOT,
                            "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                                    + "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3f</text>",
                            MARGIN_PIXELS,
                            y,
                            WIDTH_PIXELS - MARGIN_PIXELS,
                            y,
                            MARGIN_PIXELS - 6,
                            y + 4,
                            high - span * line / 4));
        }
        return String.format(
                Locale.ROOT,
                """
                <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" font-family="sans-serif" \
                font-size="11" role="img" aria-label="loss by step">
                %s
                <polyline fill="none" stroke="#1f6feb" stroke-width="1.5" points="%s"/>
                <text x="%d" y="%d">step 1</text><text x="%d" y="%d" text-anchor="end">step %d</text>
                </svg>\
                """,
                WIDTH_PIXELS,
                HEIGHT_PIXELS,
                WIDTH_PIXELS,
                grid,
                points.toString().strip(),
                MARGIN_PIXELS,
                HEIGHT_PIXELS - MARGIN_PIXELS / 2,
                WIDTH_PIXELS - MARGIN_PIXELS,
                HEIGHT_PIXELS - MARGIN_PIXELS / 2,
                losses.size());
    }
}
