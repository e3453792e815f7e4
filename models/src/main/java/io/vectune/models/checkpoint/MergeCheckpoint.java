package io.vectune.models.checkpoint;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.kind.FullWeight;
import io.vectune.models.load.ModelTensors;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DecodedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Folds adapters into the weights of a model directory, in f32, rounded once to the type of the result.
///
/// Tensors that no adapter changes stay byte for byte. Quantized layers become dense, in the type in which their
/// library dequantizes; on request they stay quantized instead, and those that change are quantized again, which loses
/// a part of the change ([MergedLayer]). The output head of a model with tied embeddings is untied when an adapter
/// changes it.
public final class MergeCheckpoint {
    private static final String HEAD = "lm_head";
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String WEIGHT = ".weight";
    private static final String BIAS = ".bias";

    private final TensorSource source;
    private final QuantizedLayers quantized;
    private final AdapterSet adapters;
    private final @Nullable DType dtype;
    private final boolean requantize;
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
    private final List<MergedLayer> requantized = new ArrayList<>();

    private MergeCheckpoint(
            TensorSource source,
            QuantizedLayers quantized,
            AdapterSet adapters,
            @Nullable DType dtype,
            boolean requantize) {
        this.source = source;
        this.quantized = quantized;
        this.adapters = adapters;
        this.dtype = dtype;
        this.requantize = requantize;
        for (String name : source.names()) {
            if (!quantized.owns(name)) {
                Tensor tensor = source.tensor(name);
                specs.put(name, TensorSpec.of(typeOf(tensor), tensor.shape()));
            }
        }
        for (String layer : quantized.names()) {
            declareQuantized(layer, quantized.weight(layer));
        }
        adapters.adapters().forEach(this::declare);
    }

    private void declareQuantized(String layer, QuantizedWeight weight) {
        if (!requantize) {
            DType type = dtype == null ? weight.computeDtype() : dtype;
            specs.put(layer + WEIGHT, TensorSpec.of(type, weight.outFeatures(), weight.inFeatures()));
        } else if (adapters.adapter(layer) == null) {
            for (String name : quantized.keys(layer)) {
                specs.put(name, TensorSpec.of(source.tensor(name)));
            }
        } else {
            specs.putAll(
                    weight.quantizer()
                            .declare(layer, weight.outFeatures(), weight.inFeatures(), weight.computeDtype()));
        }
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
        if (untiesHead() && (layer.equals(HEAD) || layer.equals(EMBEDDING))) {
            Weight head = site.weight();
            DType type = typeOf(source.tensor(EMBEDDING + WEIGHT));
            specs.put(HEAD + WEIGHT, TensorSpec.of(type, head.outFeatures(), head.inFeatures()));
        }
        if (!specs.containsKey(layer + WEIGHT) && quantized.find(layer).isEmpty()) {
            throw new VectuneException(
                    source.origin()
                            + ": expected a tensor "
                            + layer
                            + WEIGHT
                            + " to fold the adapter into, found none");
        }
    }

    private boolean untiesHead() {
        // A table trained whole leaves the head as it was, as PEFT does.
        boolean parted = adapters.adapter(HEAD) != null || adapters.adapter(EMBEDDING) instanceof FullWeight;
        return parted
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
        write(model, out, force, adapters, dtype, false, compute, progress);
        return adapters.adapters().size();
    }

    /// Merges into a copy of a quantized model directory that stays quantized: layers that an adapter changes are
    /// quantized again in their own format, all others stay byte for byte.
    ///
    /// @param adapters as in [#directory]
    /// @param force whether an output directory that holds something is accepted
    /// @param progress gets the name of each changed layer when it is done
    /// @return what became of the change of each quantized layer
    /// @throws VectuneException as [#directory], or if no adapted layer is quantized
    public static List<MergedLayer> requantize(
            Path model, Path out, boolean force, AdapterSet adapters, Compute compute, Consumer<String> progress) {
        return write(model, out, force, adapters, null, true, compute, progress);
    }

    private static List<MergedLayer> write(
            Path model,
            Path out,
            boolean force,
            AdapterSet adapters,
            @Nullable DType dtype,
            boolean requantize,
            Compute compute,
            Consumer<String> progress) {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = ModelTensors.open(model, arena);
            QuantizedLayers quantized = QuantizedLayers.of(source, ModelFiles.quantization(model, arena));
            MergeCheckpoint job = new MergeCheckpoint(source, quantized, adapters, dtype, requantize);
            if (requantize && adapters.adapters().keySet().stream().noneMatch(job::isRequantized)) {
                throw new VectuneException(
                        model
                                + ": expected quantized layers under the adapter to quantize again, found "
                                + (quantized.names().isEmpty() ? "a dense model" : "none")
                                + "; merge without --requantize");
            }
            try (OutputDirectory directory = OutputDirectory.create(out, force)) {
                try (CheckpointWriter writer =
                        new CheckpointWriter(
                                directory.path(), ModelFiles.stem(model), job.specs, Map.of("format", "pt"))) {
                    job.run(compute, writer, progress);
                    writer.commit();
                }
                ModelFiles.copyBeside(model, directory.path());
                ModelFiles.writeMergedConfig(model, directory.path(), dtype, job.untiesHead(), requantize);
                directory.commit();
            }
            return List.copyOf(job.requantized);
        }
    }

    private boolean isRequantized(String layer) {
        return requantize && adapters.adapter(layer) != null && quantized.find(layer).isPresent();
    }

    private void run(Compute compute, CheckpointWriter writer, Consumer<String> progress) {
        Set<String> again = new HashSet<>();
        for (String layer : quantized.names()) {
            if (isRequantized(layer)) {
                again.addAll(requantize(compute, layer, writer));
                progress.accept(layer);
            }
        }
        for (Map.Entry<String, TensorSpec> entry : specs.entrySet()) {
            String name = entry.getKey();
            if (again.contains(name)) {
                continue;
            }
            if (requantize && quantized.owns(name)) {
                writer.write(name, source.tensor(name).segment());
                continue;
            }
            try (Arena arena = Arena.ofShared()) {
                Tensor result = result(compute, name, arena);
                writer.write(name, FloatCast.of(arena, result, entry.getValue().dtype()).segment());
            }
            if (name.endsWith(WEIGHT) && adapters.adapter(layerOf(name)) != null) {
                progress.accept(layerOf(name));
            }
        }
    }

    private Set<String> requantize(Compute compute, String layer, CheckpointWriter writer) {
        QuantizedWeight before = quantized.weight(layer);
        try (Arena arena = Arena.ofShared()) {
            Tensor merged = merged(compute, layer, arena);
            Tensor typed = FloatCast.of(arena, merged, before.computeDtype());
            QuantizedWeight after = before.quantizer().quantize(compute, layer, typed, arena);
            Map<String, Tensor> tensors = after.tensors(layer, arena);
            tensors.forEach((name, tensor) -> writer.write(name, tensor.segment()));
            requantized.add(MergedLayer.of(layer, before, after, merged.asMatrix()));
            return Set.copyOf(tensors.keySet());
        }
    }

    private static String layerOf(String tensor) {
        return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
    }

    private Tensor result(Compute compute, String name, Arena arena) {
        String layer = layerOf(name);
        Adapter adapter = adapters.adapter(layer);
        if (adapter == null
                && name.equals(HEAD + WEIGHT)
                && !source.contains(name)
                && quantized.find(layer).isEmpty()) {
            return source.tensor(EMBEDDING + WEIGHT);
        }
        if (adapter != null && name.endsWith(WEIGHT)) {
            return merged(compute, layer, arena);
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

    private Tensor merged(Compute compute, String layer, Arena arena) {
        Adapter adapter = adapters.adapter(layer);
        if (adapter == null) {
            throw new IllegalArgumentException(layer + " has no adapter");
        }
        return MergedWeight.of(compute, layer, adapter, adapters.site(layer).weight(), arena);
    }
}
