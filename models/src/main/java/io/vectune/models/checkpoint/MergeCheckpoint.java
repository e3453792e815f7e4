package io.vectune.models.checkpoint;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Folds adapters into the weights of a model directory.
///
///     W' = W + sum_i weight_i (M_i - W)      M_i: the weight with adapter i alone folded in
///
/// computed in f32 and rounded once to the type of the result. Tensors that no adapter changes stay byte for byte.
/// Quantized layers become dense, in the type in which their library dequantizes.
public final class MergeCheckpoint {
    private static final String HEAD = "lm_head";

    /// An adapter set and what its change is multiplied by.
    public record Weighted(AdapterSet set, float weight) {}

    private final TensorSource source;
    private final QuantizedLayers quantized;
    private final @Nullable DType dtype;
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
    private final Map<String, List<Change>> changes = new LinkedHashMap<>();

    private record Change(Adapter adapter, LayerSite site, float weight) {}

    private MergeCheckpoint(
            TensorSource source, QuantizedLayers quantized, List<Weighted> adapters, @Nullable DType dtype) {
        this.source = source;
        this.quantized = quantized;
        this.dtype = dtype;
        for (Weighted weighted : adapters) {
            weighted.set().adapters().forEach((module, adapter) -> changes.computeIfAbsent(
                            module, ignored -> new ArrayList<>())
                    .add(new Change(adapter, weighted.set().site(module), weighted.weight())));
        }
        for (String name : source.names()) {
            if (!quantized.owns(name)) {
                Tensor tensor = source.tensor(name);
                specs.put(name, TensorSpec.of(typeOf(tensor), tensor.shape()));
            }
        }
        for (String layer : quantized.names()) {
            specs.put(layer + ".weight", spec(layer));
        }
        for (Map.Entry<String, List<Change>> entry : changes.entrySet()) {
            String layer = entry.getKey();
            boolean untiedHead = layer.equals(HEAD) && !source.contains(HEAD + ".weight");
            if (untiedHead) {
                specs.put(HEAD + ".weight", spec(layer));
            }
            for (Change change : entry.getValue()) {
                if (change.adapter.changesBias() && change.site.bias() == null) {
                    throw new VectuneException(layer + ": the adapter (" + change.adapter.kind()
                            + ") adds a bias, but the model's layer has none; it cannot be folded in, use it beside the"
                            + " model");
                }
            }
        }
    }

    private TensorSpec spec(String layer) {
        DType type = dtype != null
                ? dtype
                : quantized.find(layer)
                        .map(QuantizedWeight::computeDtype)
                        .orElseGet(() -> source.find(layer + ".weight")
                                .or(() -> source.find("model.embed_tokens.weight"))
                                .map(Tensor::dtype)
                                .orElse(DType.F32));
        List<Change> change = changes.getOrDefault(layer, List.of());
        Weight weight = change.isEmpty() ? quantized.weight(layer) : change.getFirst().site.weight();
        return TensorSpec.of(type, weight.outFeatures(), weight.inFeatures());
    }

    private DType typeOf(Tensor tensor) {
        return dtype != null && tensor.dtype().isFloat() ? dtype : tensor.dtype();
    }

    /// Merges into a copy of a model directory.
    ///
    /// @param adapters over the layers of this model
    /// @param dtype of all float tensors of the result; null to keep each one's type
    /// @param force whether an output directory that holds something is accepted
    /// @param progress gets the name of each changed layer when it is done
    /// @return number of layers that changed
    /// @throws VectuneException if an adapter cannot be folded in, or the result cannot be written
    public static int directory(
            Path model,
            Path out,
            boolean force,
            List<Weighted> adapters,
            @Nullable DType dtype,
            Compute compute,
            Consumer<String> progress) {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = SafetensorsCheckpoint.open(model, arena);
            QuantizedLayers quantized = QuantizedLayers.of(source, ModelFiles.quantization(model, arena));
            MergeCheckpoint job = new MergeCheckpoint(source, quantized, adapters, dtype);
            try (OutputDirectory directory = OutputDirectory.create(out, force)) {
                try (CheckpointWriter writer = new CheckpointWriter(
                        directory.path(), ModelFiles.stem(model), job.specs, Map.of("format", "pt"))) {
                    job.run(compute, writer, progress);
                    writer.commit();
                }
                ModelFiles.copyBeside(model, directory.path());
                boolean untied = job.specs.containsKey(HEAD + ".weight") && !source.contains(HEAD + ".weight");
                ModelFiles.writeMergedConfig(model, directory.path(), dtype, untied);
                directory.commit();
            }
            return job.changes.size();
        }
    }

    private void run(Compute compute, CheckpointWriter writer, Consumer<String> progress) {
        for (Map.Entry<String, TensorSpec> entry : specs.entrySet()) {
            String name = entry.getKey();
            DType type = entry.getValue().dtype();
            try (Arena arena = Arena.ofShared()) {
                String layer = name.substring(0, Math.max(0, name.lastIndexOf('.')));
                List<Change> change = changes.getOrDefault(layer, List.of());
                if (!change.isEmpty() && name.endsWith(".weight")) {
                    Matrix merged = mergedWeight(compute, change, arena);
                    writer.write(name, FloatCast.of(arena, finite(layer, merged), type).segment());
                    progress.accept(layer);
                } else if (!change.isEmpty() && name.endsWith(".bias")) {
                    writer.write(name, FloatCast.of(arena, mergedBias(change, arena), type).segment());
                } else if (quantized.find(layer).isPresent() && name.endsWith(".weight")) {
                    Matrix dense = DenseForm.of(quantized.weight(layer), arena);
                    writer.write(name, FloatCast.of(arena, dense, type).segment());
                } else {
                    writer.write(name, FloatCast.of(arena, source.tensor(name), type).segment());
                }
            }
        }
    }

    private static Matrix mergedWeight(Compute compute, List<Change> changes, Arena arena) {
        LayerSite site = changes.getFirst().site;
        int rows = site.weight().outFeatures();
        int columns = site.weight().inFeatures();
        Matrix merged = Matrix.allocate(arena, rows, columns);
        Change first = changes.getFirst();
        if (changes.size() == 1 && first.weight == 1) {
            first.adapter.merge(compute, site.weight(), merged);
            return merged;
        }
        Matrix dense = DenseForm.of(site.weight(), arena);
        Matrix one = Matrix.allocate(arena, rows, columns);
        merged.copyFrom(dense);
        for (Change change : changes) {
            change.adapter.merge(compute, site.weight(), one);
            addChange(merged, one, dense, change.weight);
        }
        return merged;
    }

    private static Matrix mergedBias(List<Change> changes, Arena arena) {
        LayerSite site = changes.getFirst().site;
        Matrix bias = site.bias();
        if (bias == null) {
            throw new IllegalStateException(site.name() + " has no bias");
        }
        Matrix merged = Matrix.allocate(arena, 1, bias.columns());
        Matrix one = Matrix.allocate(arena, 1, bias.columns());
        merged.copyFrom(bias);
        for (Change change : changes) {
            change.adapter.mergeBias(bias, one);
            addChange(merged, one, bias, change.weight);
        }
        return merged;
    }

    // target += weight (one - base)
    private static void addChange(Matrix target, Matrix one, Matrix base, float weight) {
        for (int row = 0; row < target.rows(); row++) {
            for (int column = 0; column < target.columns(); column++) {
                float change = one.get(row, column) - base.get(row, column);
                target.set(row, column, target.get(row, column) + weight * change);
            }
        }
    }

    private static Matrix finite(String layer, Matrix merged) {
        for (int row = 0; row < merged.rows(); row++) {
            for (int column = 0; column < merged.columns(); column++) {
                float value = merged.get(row, column);
                if (!Float.isFinite(value)) {
                    throw new VectuneException(layer + ".weight: expected finite values after merging, found " + value
                            + " at [" + row + ", " + column + "]; the adapter is broken");
                }
            }
        }
        return merged;
    }
}
