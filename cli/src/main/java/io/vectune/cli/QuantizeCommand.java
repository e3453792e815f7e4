package io.vectune.cli;

import io.vectune.models.checkpoint.BitAllocation;
import io.vectune.models.checkpoint.DenseDirectory;
import io.vectune.models.checkpoint.LayerReport;
import io.vectune.models.checkpoint.LayerSelection;
import io.vectune.models.checkpoint.QuantizationPlan;
import io.vectune.models.checkpoint.QuantizationReport;
import io.vectune.models.checkpoint.QuantizeCheckpoint;
import io.vectune.models.data.DataSet;
import io.vectune.models.eval.Calibration;
import io.vectune.models.eval.LayerMoments;
import io.vectune.models.load.ModelText;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
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
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune quantize`: a dense checkpoint into a quantized one that the Python libraries load.
@Command(
        name = "quantize",
        description = {
            "Quantize a model directory, a .gguf file, or every 2-D float tensor NAME.weight of a .safetensors file.",
            "The result has the keys of the library: hqq for --method hqq, bitsandbytes for nf4, fp4 and int8."
        })
final class QuantizeCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private CheckpointOption model;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

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
            names = "--target-bits",
            paramLabel = "B",
            description =
                    "hqq: stored bits a weight over all layers, metadata included; each layer gets 8, 4, 3, 2 or 1 bit.")
    private @Nullable Double targetBits;

    @Option(
            names = "--correction-rank",
            paramLabel = "N",
            description =
                    "Also fit a low-rank correction of what quantization lost: a LoRA of this rank in OUT/correction.")
    private @Nullable Integer correctionRank;

    @Option(
            names = "--calibration",
            paramLabel = "FILE",
            description =
                    "Data that says which inputs and layers matter, for --target-bits and --correction-rank; as --data of eval.")
    private @Nullable Path calibration;

    @Option(
            names = "--max-length",
            paramLabel = "N",
            defaultValue = "512",
            description = "Most tokens of a calibration row (default: ${DEFAULT-VALUE}).")
    private int maxLength;

    @Option(
            names = "--include",
            split = ",",
            paramLabel = "NAME",
            description = "Also quantize these layers (such as lm_head).")
    private List<String> include = new ArrayList<>();

    @Option(names = "--exclude", split = ",", paramLabel = "NAME", description = "Leave these layers dense.")
    private List<String> exclude = new ArrayList<>();

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ThreadsOption threads;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        boolean file = Output.isSafetensors(model.path());
        Inputs.of(model.given(), calibration).keepApart("--out", out.path());
        if (file) {
            out.checkFile();
        } else {
            if (!Files.isDirectory(model.path()) && !DenseDirectory.isGguf(model.path())) {
                throw new VectuneException(
                        model.path()
                                + ": expected a model directory, a .gguf or a .safetensors file"
                                + (Files.exists(model.path()) ? ", found another file" : "; there is no such path"));
            }
            out.checkDirectory();
        }
        QuantizeOptions options = options();
        checkCombination(file);
        QuantizationReport report;
        try (ThreadTeam team = ThreadTeam.of(threads.size());
                Compute compute = new Compute(team);
                DenseDirectory dense = DenseDirectory.of(model.path(), out.path(), compute)) {
            LayerSelection selection = new LayerSelection(!file, include, exclude);
            QuantizationPlan plan = plan(output, dense.path(), options, selection, compute);
            report = run(output, dense.path(), file, plan, selection, compute);
            print(output, report, file, plan);
        }
        return 0;
    }

    private void checkCombination(boolean file) {
        if (targetBits != null && bits != null) {
            throw new UsageException("--target-bits chooses the bits of each layer; leave --bits out");
        }
        if (targetBits != null && !(targetBits > 0 && targetBits < 16)) {
            throw new UsageException("--target-bits: expected more than 0 and less than 16, found " + targetBits);
        }
        if (targetBits != null && !method.equalsIgnoreCase("hqq")) {
            throw new UsageException("--target-bits belongs to --method hqq, found --method " + method);
        }
        if (correctionRank != null && correctionRank < 1) {
            throw new UsageException("--correction-rank: expected at least 1, found " + correctionRank);
        }
        if (calibration != null && targetBits == null && correctionRank == null) {
            throw new UsageException(
                    "--calibration serves --target-bits and --correction-rank, found neither; quantizing alone needs no"
                            + " data");
        }
        if (file && (calibration != null || correctionRank != null)) {
            throw new UsageException(
                    "--calibration and --correction-rank need a model directory, found the file " + model.path());
        }
    }

    private QuantizationPlan plan(
            Output output, Path dense, QuantizeOptions options, LayerSelection selection, Compute compute) {
        Map<String, LayerMoments> moments = calibrate(output);
        QuantizationPlan plan;
        if (targetBits == null) {
            plan = QuantizationPlan.of(quantizer(options));
        } else {
            quantizer(options);
            Progress[] progress = new Progress[1];
            int[] done = new int[1];
            try {
                plan =
                        BitAllocation.plan(
                                dense,
                                selection,
                                options,
                                targetBits,
                                moments,
                                compute,
                                layers ->
                                        progress[0] = Progress.start(output.err(), "measure", layers.size(), "layers"),
                                layer -> progress[0].at(++done[0], ""));
            } finally {
                if (progress[0] != null) {
                    progress[0].close();
                }
            }
        }
        return correctionRank == null ? plan : plan.withCorrection(correctionRank, moments);
    }

    private Map<String, LayerMoments> calibrate(Output output) {
        Path data = calibration;
        if (data == null) {
            return Map.of();
        }
        try (Host host = Host.open(model.path(), null, List.of(), threads.size())) {
            DataSet rows =
                    DataOptionsMixin.load(data, maxLength, false, ModelText.of(model.path()), host.model(), output);
            try (Progress progress = Progress.start(output.err(), "calibrate", rows.rows().size(), "rows")) {
                return Calibration.of(
                        host.model(), host.compute(), rows.rows(), targetBits != null, done -> progress.at(done, ""));
            }
        }
    }

    private QuantizeOptions options() {
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
        return options;
    }

    private static WeightQuantizer quantizer(QuantizeOptions options) {
        try {
            return Quantizers.of(options);
        } catch (IllegalArgumentException | VectuneException wrong) {
            throw new UsageException(String.valueOf(wrong.getMessage()));
        }
    }

    private QuantizationReport run(
            Output output,
            Path dense,
            boolean file,
            QuantizationPlan quantization,
            LayerSelection selection,
            Compute compute) {
        Progress[] progress = new Progress[1];
        int[] done = new int[1];
        long[] weights = new long[1];
        double[] seconds = new double[1];
        Consumer<List<String>> started =
                layers -> {
                    output.note("%s: %d layers to %s", model.path(), layers.size(), describe(quantization));
                    progress[0] = Progress.start(output.err(), "quantize", layers.size(), "layers");
                };
        Consumer<LayerReport> each =
                report -> {
                    weights[0] += report.weights();
                    seconds[0] += report.seconds();
                    progress[0].at(
                            ++done[0], String.format(Locale.ROOT, "%.0f M weights/s", weights[0] / seconds[0] * 1e-6));
                };
        try {
            return file
                    ? QuantizeCheckpoint.file(model.path(), out.path(), selection, quantization, compute, started, each)
                    : QuantizeCheckpoint.directory(
                            dense, out.path(), out.force(), selection, quantization, compute, started, each);
        } finally {
            if (progress[0] != null) {
                progress[0].close();
            }
        }
    }

    private String describe(QuantizationPlan plan) {
        String correction = plan.correctionRank() == 0 ? "" : ", correction of rank " + plan.correctionRank();
        return targetBits == null
                ? plan.quantizer().description() + correction
                : "hqq, at most " + targetBits + " bits a weight" + correction;
    }

    private void print(Output output, QuantizationReport report, boolean file, QuantizationPlan plan) {
        if (json.isOn()) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("out", out.path().toString());
            object.put("format", describe(plan));
            object.putAll(report.fields());
            JsonOutput.print(output.out(), object);
            return;
        }
        boolean corrected = plan.correctionRank() > 0;
        output.result(
                "%-52s %8s %10s %18s %9s%s",
                "layer", "bits/w", "rel. error", "worst row", "seconds", corrected ? " corrected" : "");
        for (LayerReport layer : report.layers()) {
            output.result(
                    "%-52s %8.3f %10.5f %9d: %7.5f %9.3f%s",
                    layer.layer(),
                    layer.bitsPerWeight(),
                    layer.relativeError(),
                    layer.error().worstRow(),
                    layer.error().worstRowError(),
                    layer.seconds(),
                    layer.corrected().isPresent()
                            ? String.format(Locale.ROOT, " %7.1f %%", 100 * layer.corrected().getAsDouble())
                            : "");
        }
        LayerReport worst =
                report.layers().stream().max(Comparator.comparingDouble(LayerReport::relativeError)).orElseThrow();
        output.result(
                "%d layers: %s -> %s, %.3f bits a weight; relative error %.5f, the largest %.5f (%s)",
                report.layers().size(),
                Progress.bytes(report.denseBytes()),
                Progress.bytes(report.storedBytes()),
                report.bitsPerWeight(),
                report.relativeError(),
                worst.relativeError(),
                worst.layer());
        if (corrected) {
            output.result(
                    "correction of rank %d: %s in %s; use it with --adapter, or go on tuning it with --init-from",
                    plan.correctionRank(), Progress.bytes(report.correctionBytes()), out.path().resolve("correction"));
        }
        output.result(
                "%.1f M weights/s, %s in all; wrote %s and %s",
                report.weightsPerSecond() * 1e-6,
                Progress.duration(report.seconds()),
                out.path(),
                QuantizationReport.pathOf(out.path(), file));
    }
}
