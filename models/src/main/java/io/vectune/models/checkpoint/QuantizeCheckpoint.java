package io.vectune.models.checkpoint;

import io.vectune.models.load.ModelTensors;
import io.vectune.quant.LowRankCorrection;
import io.vectune.quant.QuantizationError;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/// Quantizes a checkpoint into another one, layer by layer: a model directory into a model directory, or a safetensors
/// file into a safetensors file with the library's own keys under each name.
public final class QuantizeCheckpoint {
    private static final String WEIGHT = ".weight";
    private static final String OUTPUT_HEAD = "lm_head";

    private final TensorSource source;
    private final List<String> layers;
    private final QuantizationPlan plan;
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
    private final Map<String, LowRankCorrection> corrections = new LinkedHashMap<>();

    private QuantizeCheckpoint(TensorSource source, List<String> layers, QuantizationPlan plan) {
        this.source = source;
        this.layers = layers;
        this.plan = plan;
        Set<String> quantized = new LinkedHashSet<>(layers);
        for (String name : source.names()) {
            Tensor tensor = source.tensor(name);
            String layer = name.endsWith(WEIGHT) ? name.substring(0, name.length() - WEIGHT.length()) : name;
            if (name.endsWith(WEIGHT) && quantized.contains(layer)) {
                specs.putAll(
                        plan.quantizerOf(layer)
                                .declare(
                                        layer,
                                        Math.toIntExact(tensor.size(0)),
                                        Math.toIntExact(tensor.size(1)),
                                        tensor.dtype()));
            } else {
                specs.put(name, TensorSpec.of(tensor));
            }
        }
    }

    /// Quantizes a model directory. The report goes into the result as [QuantizationReport#FILE], a low-rank correction
    /// as a PEFT adapter in the directory `correction`.
    ///
    /// @param force whether an output directory that holds something is accepted
    /// @param started gets the names of the layers before any is quantized
    /// @param progress gets each layer's report when it is done
    /// @throws VectuneException if the model cannot be read or has nothing to quantize, a weight has non-finite values
    ///   or a shape that does not fit, or the result cannot be written
    public static QuantizationReport directory(
            Path model,
            Path out,
            boolean force,
            LayerSelection selection,
            QuantizationPlan plan,
            Compute compute,
            Consumer<List<String>> started,
            Consumer<LayerReport> progress) {
        if (!Files.isRegularFile(model.resolve(ModelFiles.CONFIG))) {
            throw new VectuneException(model + ": has no config.json; expected a model directory");
        }
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = ModelTensors.open(model, arena);
            QuantizeCheckpoint job = new QuantizeCheckpoint(source, selection.select(source), plan);
            started.accept(job.layers);
            try (OutputDirectory directory = OutputDirectory.create(out, force)) {
                QuantizationReport report;
                try (CheckpointWriter writer =
                        new CheckpointWriter(
                                directory.path(), ModelFiles.stem(model), job.specs, Map.of("format", "pt"))) {
                    report = job.run(compute, arena, (name, tensor) -> writer.write(name, tensor.segment()), progress);
                    writer.commit();
                }
                if (plan.correctionRank() > 0) {
                    CorrectionWriter.write(
                            compute, source, job.corrections, plan.correctionRank(), out, directory.path());
                }
                ModelFiles.copyBeside(model, directory.path());
                ModelFiles.writeConfig(
                        model, directory.path(), plan.quantizationConfig(job.skipped(), job.inputType()));
                write(report, directory.path().resolve(QuantizationReport.FILE));
                directory.commit();
                return report;
            }
        }
    }

    /// Quantizes a safetensors file. The report goes beside it, see [QuantizationReport#pathOf].
    ///
    /// @throws VectuneException as [#directory]
    public static QuantizationReport file(
            Path file,
            Path out,
            LayerSelection selection,
            QuantizationPlan plan,
            Compute compute,
            Consumer<List<String>> started,
            Consumer<LayerReport> progress) {
        if (plan.correctionRank() > 0) {
            throw new VectuneException(
                    file + ": expected a model directory for a low-rank correction, found a single file");
        }
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = SafetensorsCheckpoint.open(file, arena);
            QuantizeCheckpoint job = new QuantizeCheckpoint(source, selection.select(source), plan);
            started.accept(job.layers);
            SafetensorsWriter.Declaration declaration = SafetensorsWriter.declare(source.metadata());
            job.specs.forEach((name, spec) -> declaration.tensor(name, spec.dtype(), spec.sizes()));
            try (SafetensorsWriter writer = declaration.create(out)) {
                QuantizationReport report =
                        job.run(compute, arena, (name, tensor) -> writer.write(name, tensor.segment()), progress);
                writer.commit();
                write(report, QuantizationReport.pathOf(out, true));
                return report;
            }
        }
    }

    private static void write(QuantizationReport report, Path path) {
        StrictJson.write(path, StrictJson.mapper().valueToTree(report.fields()));
    }

    /// The type of the dense weights: that of the first layer.
    private DType inputType() {
        return source.tensor(layers.getFirst() + WEIGHT).dtype();
    }

    /// Linear layers that stay dense. A head that shares the embedding's weight has no tensor of its own, but the
    /// Python libraries quantize every linear layer that the list does not name.
    private List<String> skipped() {
        List<String> skipped = new ArrayList<>();
        Set<String> quantized = new LinkedHashSet<>(layers);
        for (String name : source.names()) {
            if (name.endsWith(WEIGHT) && source.tensor(name).axes() == 2) {
                String layer = name.substring(0, name.length() - WEIGHT.length());
                if (!quantized.contains(layer)) {
                    skipped.add(layer);
                }
            }
        }
        if (!skipped.isEmpty() && !source.contains(OUTPUT_HEAD + WEIGHT)) {
            skipped.add(OUTPUT_HEAD);
        }
        return skipped;
    }

    private QuantizationReport run(
            Compute compute, Arena kept, BiConsumer<String, Tensor> write, Consumer<LayerReport> progress) {
        long begin = System.nanoTime();
        Set<String> quantized = new LinkedHashSet<>(layers);
        List<LayerReport> reports = new ArrayList<>();
        for (String name : source.names()) {
            String layer = name.endsWith(WEIGHT) ? name.substring(0, name.length() - WEIGHT.length()) : name;
            Tensor dense = source.tensor(name);
            if (!name.endsWith(WEIGHT) || !quantized.contains(layer)) {
                write.accept(name, dense);
                dense.release();
                continue;
            }
            try (Arena arena = Arena.ofShared()) {
                WeightQuantizer quantizer = plan.quantizerOf(layer);
                long start = System.nanoTime();
                QuantizedWeight weight = quantizer.quantize(compute, layer, dense, arena);
                double seconds = (System.nanoTime() - start) * 1e-9;
                Map<String, Tensor> tensors = weight.tensors(layer, arena);
                tensors.forEach(write);
                OptionalDouble corrected = OptionalDouble.empty();
                long correctionBytes = 0;
                if (plan.correctionRank() > 0) {
                    LowRankCorrection correction = correct(compute, layer, dense, weight, kept);
                    corrections.put(layer, correction);
                    corrected = OptionalDouble.of(correction.explained());
                    correctionBytes = 4L * correction.loraA().rows() * (dense.size(0) + dense.size(1));
                }
                LayerReport report =
                        new LayerReport(
                                layer,
                                quantizer.description(),
                                dense.elements(),
                                QuantizationError.measure(compute, dense, weight),
                                dense.byteSize(),
                                tensors.values().stream().mapToLong(Tensor::byteSize).sum(),
                                corrected,
                                correctionBytes,
                                seconds);
                dense.release();
                reports.add(report);
                progress.accept(report);
            }
        }
        return new QuantizationReport(reports, (System.nanoTime() - begin) * 1e-9);
    }

    private LowRankCorrection correct(Compute compute, String layer, Tensor dense, QuantizedWeight weight, Arena kept) {
        int rank = (int) Math.min(plan.correctionRank(), Math.min(dense.size(0), dense.size(1)));
        return LowRankCorrection.fit(compute, dense, weight, plan.inputMoments(layer), rank, kept);
    }
}
