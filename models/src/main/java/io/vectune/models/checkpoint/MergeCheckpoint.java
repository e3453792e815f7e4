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
import io.vectune.runtime.weight.DecodedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Folds adapters into the weights of a model directory, in f32, rounded once to the type of the result.
///
/// Tensors that no adapter changes stay byte for byte. Quantized layers become dense, in the type in which their
/// library dequantizes. The output head of a model with tied embeddings is untied when an adapter changes it.
public final class MergeCheckpoint {
    private static final String HEAD = "lm_head";
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String WEIGHT = ".weight";
    private static final String BIAS = ".bias";

    private final TensorSource source;
    private final QuantizedLayers quantized;
    private final AdapterSet adapters;
    private final @Nullable DType dtype;
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();

    private MergeCheckpoint(
            TensorSource source, QuantizedLayers quantized, AdapterSet adapters, @Nullable DType dtype) {
        this.source = source;
        this.quantized = quantized;
        this.adapters = adapters;
        this.dtype = dtype;
        for (String name : source.names()) {
            if (!quantized.owns(name)) {
                Tensor tensor = source.tensor(name);
                specs.put(name, TensorSpec.of(typeOf(tensor), tensor.shape()));
            }
        }
        for (String layer : quantized.names()) {
            QuantizedWeight weight = quantized.weight(layer);
            DType type = dtype == null ? weight.computeDtype() : dtype;
            specs.put(layer + WEIGHT, TensorSpec.of(type, weight.outFeatures(), weight.inFeatures()));
        }
        adapters.adapters().forEach(this::declare);
    }

    private DType typeOf(Tensor tensor) {
        return dtype != null && tensor.dtype().isFloat() ? dtype : tensor.dtype();
    }

    private void declare(String layer, Adapter adapter) {
        LayerSite site = adapters.site(layer);
        if (adapter.changesBias() && site.bias() == null) {
            throw new VectuneException(
                    layer
                            + ": the adapter ("
                            + adapter.kind()
                            + ") adds a bias, but the model's layer has none; it cannot be folded in, use it beside the model");
        }
        if (untiesHead() && layer.equals(HEAD)) {
            Weight head = site.weight();
            DType type = typeOf(source.tensor(EMBEDDING + WEIGHT));
            specs.put(HEAD + WEIGHT, TensorSpec.of(type, head.outFeatures(), head.inFeatures()));
        }
        if (!specs.containsKey(layer + WEIGHT)) {
            throw new VectuneException(
                    source.origin()
                            + ": expected a tensor "
                            + layer
                            + WEIGHT
                            + " to fold the adapter into, found none");
        }
    }

    private boolean untiesHead() {
        return adapters.adapter(HEAD) != null
                && !source.contains(HEAD + WEIGHT)
                && quantized.find(HEAD).isEmpty()
                && source.contains(EMBEDDING + WEIGHT);
    }

    /// Merges into a copy of a model directory.
    ///
    /// @param adapters over the layers of this model; a composition for several
    /// @param dtype of all float tensors of the result; null to keep each one's type
    /// @param force whether an output directory that holds something is accepted
    /// @param progress gets the name of each changed layer when it is done
    /// @return number of layers that changed
    /// @throws VectuneException if an adapter cannot be folded in, or the result cannot be written
    public static int directory(
            Path model,
            Path out,
            boolean force,
            AdapterSet adapters,
            @Nullable DType dtype,
            Compute compute,
            Consumer<String> progress) {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = SafetensorsCheckpoint.open(model, arena);
            QuantizedLayers quantized = QuantizedLayers.of(source, ModelFiles.quantization(model, arena));
            MergeCheckpoint job = new MergeCheckpoint(source, quantized, adapters, dtype);
            try (OutputDirectory directory = OutputDirectory.create(out, force)) {
                try (CheckpointWriter writer =
                        new CheckpointWriter(
                                directory.path(), ModelFiles.stem(model), job.specs, Map.of("format", "pt"))) {
                    job.run(compute, writer, progress);
                    writer.commit();
                }
                ModelFiles.copyBeside(model, directory.path());
                ModelFiles.writeMergedConfig(model, directory.path(), dtype, job.untiesHead());
                directory.commit();
            }
            return adapters.adapters().size();
        }
    }

    private void run(Compute compute, CheckpointWriter writer, Consumer<String> progress) {
        for (Map.Entry<String, TensorSpec> entry : specs.entrySet()) {
            String name = entry.getKey();
            try (Arena arena = Arena.ofShared()) {
                Tensor result = result(compute, name, arena);
                writer.write(name, FloatCast.of(arena, result, entry.getValue().dtype()).segment());
            }
            if (name.endsWith(WEIGHT) && adapters.adapter(layerOf(name)) != null) {
                progress.accept(layerOf(name));
            }
        }
    }

    private static String layerOf(String tensor) {
        return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
    }

    private Tensor result(Compute compute, String name, Arena arena) {
        String layer = layerOf(name);
        Adapter adapter = adapters.adapter(layer);
        if (adapter != null && name.endsWith(WEIGHT)) {
            LayerSite site = adapters.site(layer);
            Weight weight = site.weight();
            Tensor merged = Tensor.allocate(arena, DType.F32, weight.outFeatures(), weight.inFeatures());
            adapter.merge(compute, weight, merged.asMatrix());
            requireFinite(layer, merged.asMatrix());
            return merged;
        }
        if (adapter != null && adapter.changesBias() && name.endsWith(BIAS)) {
            Tensor merged = Tensor.allocate(arena, DType.F32, source.tensor(name).shape());
            adapter.mergeBias(adapters.site(layer).bias(), merged.asMatrix());
            return merged;
        }
        if (name.endsWith(WEIGHT) && quantized.find(layer).isPresent()) {
            return DecodedWeight.of(compute, quantized.weight(layer), arena);
        }
        return source.tensor(name);
    }

    private static void requireFinite(String layer, Matrix merged) {
        for (int row = 0; row < merged.rows(); row++) {
            for (int column = 0; column < merged.columns(); column++) {
                float value = merged.get(row, column);
                if (!Float.isFinite(value)) {
                    throw new VectuneException(
                            layer
                                    + ".weight: expected finite values after merging, found "
                                    + value
                                    + " at ["
                                    + row
                                    + ", "
                                    + column
                                    + "]; the adapter is broken");
                }
            }
        }
    }
}
