package io.vectune.cli;

import io.vectune.models.checkpoint.LayerReport;
import io.vectune.models.checkpoint.LayerSelection;
import io.vectune.models.checkpoint.QuantizeCheckpoint;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.CpuTopology;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.file.OutputDirectory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune quantize`: a dense checkpoint into a quantized one that the Python libraries load.
@Command(
        name = "quantize",
        description = {
            "Quantize a model directory, or every 2-D float tensor NAME.weight of a .safetensors file.",
            "The result has the keys of the library: hqq for --method hqq, bitsandbytes for nf4, fp4 and int8."
        })
final class QuantizeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(
            names = "--model",
            required = true,
            paramLabel = "PATH",
            description = "Model directory or .safetensors file.")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    @Option(
            names = "--out",
            required = true,
            paramLabel = "PATH",
            description = "Directory or file to write, as --model.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Option(names = "--method", required = true, paramLabel = "METHOD", description = "hqq, nf4, fp4 or int8.")
    @SuppressWarnings("NullAway.Init")
    private String method;

    @Option(names = "--bits", paramLabel = "N", description = "hqq: 8, 6, 5, 4, 3, 2, 1.58 or 1 (default 4).")
    private @Nullable String bits;

    @Option(names = "--group-size", paramLabel = "G", description = "hqq: weights a scale, or none (default 64).")
    private @Nullable String groupSize;

    @Option(
            names = "--axis",
            paramLabel = "0|1",
            description = "hqq: 1 groups along the inputs (default), 0 along the outputs.")
    private @Nullable Integer axis;

    @Option(
            names = "--meta-bits",
            paramLabel = "8|none",
            description = "hqq: bits of scales and zero points (default none).")
    private @Nullable String metaBits;

    @Option(names = "--block-size", paramLabel = "B", description = "nf4, fp4: weights an absmax (default 64).")
    private @Nullable Integer blockSize;

    @Option(names = "--double-quant", description = "nf4, fp4: quantize absmax as well.")
    private boolean doubleQuant;

    @Option(
            names = "--include",
            split = ",",
            paramLabel = "NAME",
            description = "Also quantize these layers (such as lm_head).")
    private List<String> include = new ArrayList<>();

    @Option(names = "--exclude", split = ",", paramLabel = "NAME", description = "Leave these layers dense.")
    private List<String> exclude = new ArrayList<>();

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Threads (default: one a physical core).")
    private int threads;

    @Option(names = "--force", description = "Replace files in an output directory that holds something.")
    private boolean force;

    @Option(names = "--json", description = "Print one JSON object with the report of every layer.")
    private boolean json;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        boolean file = Output.isSafetensors(model);
        if (file) {
            Output.checkFile(out, force);
        } else {
            if (!Files.isDirectory(model)) {
                throw new VectuneException(
                        model
                                + ": expected a model directory or a .safetensors file"
                                + (Files.exists(model) ? ", found another file" : "; there is no such path"));
            }
            OutputDirectory.check(out, force);
        }
        WeightQuantizer quantizer = quantizer();
        LayerSelection selection = new LayerSelection(!file, include, exclude);
        long start = System.nanoTime();
        List<LayerReport> reports = run(output, file, quantizer, selection);
        print(output, reports, (System.nanoTime() - start) * 1e-9, quantizer.description());
        return 0;
    }

    private WeightQuantizer quantizer() {
        QuantizeOptions options = QuantizeOptions.of(method.toLowerCase(Locale.ROOT));
        options = bits == null ? options : options.withBits(bits);
        options = groupSize == null ? options : options.withGroupSize(groupSize);
        options = axis == null ? options : options.withAxis(axis);
        options = metaBits == null ? options : options.withMetaBits(metaBits);
        options = blockSize == null ? options : options.withBlockSize(blockSize);
        options = doubleQuant ? options.withDoubleQuant(true) : options;
        boolean hqq = options.method().equals("hqq");
        if (!hqq && (bits != null || groupSize != null || axis != null || metaBits != null)) {
            throw new UsageException(
                    "--bits, --group-size, --axis and --meta-bits belong to --method hqq, found --method " + method);
        }
        boolean fourBit = options.method().equals("nf4") || options.method().equals("fp4");
        if (!fourBit && (blockSize != null || doubleQuant)) {
            throw new UsageException(
                    "--block-size and --double-quant belong to --method nf4 or fp4, found --method " + method);
        }
        try {
            return Quantizers.of(options);
        } catch (IllegalArgumentException | VectuneException wrong) {
            throw new UsageException(String.valueOf(wrong.getMessage()));
        }
    }

    private List<LayerReport> run(Output output, boolean file, WeightQuantizer quantizer, LayerSelection selection) {
        try (ThreadTeam team = ThreadTeam.of(threads > 0 ? threads : CpuTopology.usablePhysicalCores());
                Compute compute = new Compute(team)) {
            Progress[] progress = new Progress[1];
            int[] done = new int[1];
            long[] weights = new long[1];
            double[] seconds = new double[1];
            Consumer<List<String>> plan =
                    layers -> {
                        output.note("%s: %d layers to %s", model, layers.size(), quantizer.description());
                        progress[0] = Progress.start(output.err(), "quantize", layers.size(), "layers");
                    };
            Consumer<LayerReport> each =
                    report -> {
                        weights[0] += Math.round(8.0 * report.storedBytes() / report.bitsPerWeight());
                        seconds[0] += report.seconds();
                        progress[0].at(
                                ++done[0],
                                String.format(Locale.ROOT, "%.0f M weights/s", weights[0] / seconds[0] * 1e-6));
                    };
            try {
                return file
                        ? QuantizeCheckpoint.file(model, out, selection, quantizer, compute, plan, each)
                        : QuantizeCheckpoint.directory(model, out, force, selection, quantizer, compute, plan, each);
            } finally {
                if (progress[0] != null) {
                    progress[0].close();
                }
            }
        }
    }

    private void print(Output output, List<LayerReport> reports, double seconds, String description) {
        long before = reports.stream().mapToLong(LayerReport::denseBytes).sum();
        long after = reports.stream().mapToLong(LayerReport::storedBytes).sum();
        double quantizing = reports.stream().mapToDouble(LayerReport::seconds).sum();
        double weights =
                reports.stream().mapToDouble(report -> 8.0 * report.storedBytes() / report.bitsPerWeight()).sum();
        if (json) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("out", out.toString());
            object.put("format", description);
            object.put("layers", reports.size());
            object.put("bytes_before", before);
            object.put("bytes_after", after);
            object.put("bits_per_weight", 8.0 * after / weights);
            object.put("seconds", seconds);
            object.put("weights_per_second", weights / quantizing);
            object.put("reports", reports.stream().map(QuantizeCommand::fields).toList());
            JsonOutput.print(output.out(), object);
            return;
        }
        output.result("%-52s %8s %10s %18s %9s", "layer", "bits/w", "rel. error", "worst row", "seconds");
        for (LayerReport report : reports) {
            output.result(
                    "%-52s %8.3f %10.5f %9d: %7.5f %9.3f",
                    report.layer(),
                    report.bitsPerWeight(),
                    report.relativeError(),
                    report.worstRow(),
                    report.worstRowError(),
                    report.seconds());
        }
        LayerReport worst = reports.stream().max(Comparator.comparingDouble(LayerReport::relativeError)).orElseThrow();
        output.result(
                "%d layers: %s -> %s, %.3f bits a weight; largest relative error %.5f (%s)",
                reports.size(),
                Progress.bytes(before),
                Progress.bytes(after),
                8.0 * after / weights,
                worst.relativeError(),
                worst.layer());
        output.result(
                "%.1f M weights/s, %s in all; wrote %s", weights / quantizing * 1e-6, Progress.duration(seconds), out);
    }

    private static Map<String, Object> fields(LayerReport report) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("layer", report.layer());
        fields.put("bits_per_weight", report.bitsPerWeight());
        fields.put("relative_error", report.relativeError());
        fields.put("worst_row", report.worstRow());
        fields.put("worst_row_error", report.worstRowError());
        fields.put("bytes_before", report.denseBytes());
        fields.put("bytes_after", report.storedBytes());
        fields.put("seconds", report.seconds());
        return fields;
    }
}
