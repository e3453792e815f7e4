package io.vectune.cli;

import com.samskivert.mustache.Mustache;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.train.StepRecord;
import io.vectune.models.train.TrainerOptions;
import io.vectune.runtime.file.AtomicFile;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// What a run did: the page beside the adapter, and the summary that commands print.
///
/// @param facts what was trained, how; for people, in order
/// @param losses of the steps of this process
/// @param tokensPerSecondAtEnd over the last fifth of the steps, when the code is compiled
/// @param peakMemoryBytes the most that the process has had resident
record TuningReport(
        Map<String, String> facts,
        List<Double> losses,
        double seconds,
        double tokensPerSecond,
        double tokensPerSecondAtEnd,
        long peakMemoryBytes) {
    /// The page's name beside an adapter.
    static final String FILE = "report.html";

    private record Fact(String name, String value) {}

    static TuningReport of(Path model, AdapterSet set, TrainerOptions options, List<StepRecord> records) {
        double seconds = records.stream().mapToDouble(StepRecord::seconds).sum();
        long tokens = records.stream().mapToLong(StepRecord::tokens).sum();
        Map<String, String> facts = new LinkedHashMap<>();
        facts.put("model", model.toString());
        facts.put("adapter", set.config().recipe().kind() + " on " + set.adapters().size() + " layers");
        facts.put("trained parameters", String.format(Locale.ROOT, "%,d", set.trainableElements()));
        facts.put("optimizer", String.valueOf(options.optimizer()));
        facts.put("learning rate", options.learningRate() + ", " + options.schedule());
        facts.put("steps", Integer.toString(options.schedule().totalSteps()));
        facts.put("tokens", String.format(Locale.ROOT, "%,d", tokens));
        facts.put("time", Progress.duration(seconds));
        facts.put("tokens/s", String.format(Locale.ROOT, "%.0f", tokens / seconds));
        long peakMemory = PeakMemory.bytes();
        facts.put("peak memory", Progress.bytes(peakMemory));
        facts.put("vectune", Version.number());
        List<StepRecord> lastFifth = records.subList(records.size() - records.size() / 5, records.size());
        double endSeconds = lastFifth.stream().mapToDouble(StepRecord::seconds).sum();
        long endTokens = lastFifth.stream().mapToLong(StepRecord::tokens).sum();
        return new TuningReport(
                facts,
                records.stream().map(StepRecord::loss).toList(),
                seconds,
                tokens / Math.max(seconds, 1e-9),
                endTokens / Math.max(endSeconds, 1e-9),
                peakMemory);
    }

    double firstLoss() {
        return losses.isEmpty() ? Double.NaN : losses.getFirst();
    }

    double lastLoss() {
        return losses.isEmpty() ? Double.NaN : losses.getLast();
    }

    /// The figures by name.
    Map<String, Object> summary() {
        Map<String, Object> summary = new LinkedHashMap<>();
        summary.put("steps", losses.size());
        if (!losses.isEmpty()) {
            summary.put("first_loss", firstLoss());
            summary.put("last_loss", lastLoss());
        }
        summary.put("seconds", seconds);
        summary.put("tokens_per_second", tokensPerSecond);
        summary.put("peak_memory_bytes", peakMemoryBytes);
        return summary;
    }

    /// Writes the page.
    void write(Path file) {
        try (InputStream template = TuningReport.class.getResourceAsStream("report.mustache")) {
            if (template == null) {
                throw new IllegalStateException("report.mustache is not in the jar");
            }
            Map<String, Object> values = new LinkedHashMap<>();
            values.put(
                    "facts", facts.entrySet().stream().map(fact -> new Fact(fact.getKey(), fact.getValue())).toList());
            values.put("plot", losses.isEmpty() ? "" : new LossPlot(losses).svg());
            String page =
                    Mustache.compiler()
                            .compile(new InputStreamReader(template, StandardCharsets.UTF_8))
                            .execute(values);
            AtomicFile.write(file, page);
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }
}
