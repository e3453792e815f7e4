package io.vectune.models.checkpoint;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// What quantizing a checkpoint did, layer by layer and in all. It is written beside the result.
///
/// @param layers in the order of the checkpoint, at least one
/// @param seconds from the first layer to the last, reading and writing included
public record QuantizationReport(List<LayerReport> layers, double seconds) {
    /// The report's file in a directory.
    public static final String FILE = "quantization_report.json";

    public QuantizationReport {
        layers = List.copyOf(layers);
    }

    /// Where the report of a result lies: in the directory, or beside the file with its name in front.
    public static Path pathOf(Path out, boolean file) {
        return file ? out.resolveSibling(out.getFileName() + "." + FILE) : out.resolve(FILE);
    }

    /// Bytes of the layers before.
    public long denseBytes() {
        return layers.stream().mapToLong(LayerReport::denseBytes).sum();
    }

    /// Bytes of the layers after, corrections not included.
    public long storedBytes() {
        return layers.stream().mapToLong(LayerReport::storedBytes).sum();
    }

    /// Bytes of all corrections.
    public long correctionBytes() {
        return layers.stream().mapToLong(LayerReport::correctionBytes).sum();
    }

    /// Weights of all layers.
    public long weights() {
        return layers.stream().mapToLong(LayerReport::weights).sum();
    }

    /// Stored bits a weight over all layers, metadata included.
    public double bitsPerWeight() {
        return 8.0 * storedBytes() / weights();
    }

    /// Relative Frobenius error over all layers together.
    public double relativeError() {
        double error = 0;
        double size = 0;
        for (LayerReport layer : layers) {
            error += layer.error().errorNorm() * layer.error().errorNorm();
            size += layer.error().weightNorm() * layer.error().weightNorm();
        }
        return error == 0 ? 0 : Math.sqrt(error / size);
    }

    /// Weights a second while quantizing, without reading and writing.
    public double weightsPerSecond() {
        return weights() / layers.stream().mapToDouble(LayerReport::seconds).sum();
    }

    /// The whole report as the fields of a JSON object.
    public Map<String, Object> fields() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("layers", layers.size());
        fields.put("weights", weights());
        fields.put("bytes_before", denseBytes());
        fields.put("bytes_after", storedBytes());
        fields.put("bits_per_weight", bitsPerWeight());
        fields.put("relative_error", relativeError());
        if (correctionBytes() > 0) {
            fields.put("correction_bytes", correctionBytes());
        }
        fields.put("seconds", seconds);
        fields.put("weights_per_second", weightsPerSecond());
        List<Map<String, Object>> each = new ArrayList<>();
        layers.forEach(layer -> each.add(fields(layer)));
        fields.put("reports", each);
        return fields;
    }

    private static Map<String, Object> fields(LayerReport layer) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("layer", layer.layer());
        fields.put("format", layer.format());
        fields.put("bits_per_weight", layer.bitsPerWeight());
        fields.put("relative_error", layer.relativeError());
        fields.put("worst_row", layer.error().worstRow());
        fields.put("worst_row_error", layer.error().worstRowError());
        layer.corrected().ifPresent(part -> fields.put("corrected", part));
        fields.put("bytes_before", layer.denseBytes());
        fields.put("bytes_after", layer.storedBytes());
        fields.put("seconds", layer.seconds());
        return fields;
    }
}
