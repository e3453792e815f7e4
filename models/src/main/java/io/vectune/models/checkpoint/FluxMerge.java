package io.vectune.models.checkpoint;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.kind.DenseCopy;
import io.vectune.models.decoder.Linear;
import io.vectune.models.flux.FluxAdapters;
import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxModel;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.file.StrictJson;
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
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ObjectNode;

/// Folds the active adapters of a Flux transformer into a copy of its directory, in f32, rounded once to the type of
/// the result: weights and biases with their updates, the wider input and the norms that a Control LoRA brings, and
/// `in_channels` of config.json.
///
/// Layers that no adapter changes stay as they are stored, quantized ones too. A quantized layer that changes becomes
/// dense, in the type of its bias as diffusers makes it, or is quantized again in its own format, as [QuantizedChanges]
/// says. A dense layer at the top takes its namesakes inside the blocks with it (`proj_out` has some): diffusers skips
/// every layer of that name when it looks for quantized ones, and could not load the result otherwise.
public final class FluxMerge {
    /// What becomes of a quantized layer that changes.
    public enum QuantizedChanges {
        /// It becomes dense.
        DENSE,
        /// It is quantized again, which loses a part of the change ([MergedLayer]).
        QUANTIZED_AGAIN,
        /// It is quantized again, but for the widened input, which becomes dense, as diffusers leaves it.
        QUANTIZED_AGAIN_BUT_INPUT
    }

    /// What a merge did.
    ///
    /// @param changed layers that the adapters change
    /// @param requantized of these, those that were quantized again, with what they kept of the change
    /// @param madeDense layers that were quantized before and are dense now, namesakes of changed ones among them
    /// @param quantized layers of the result that are quantized
    public record Result(int changed, List<MergedLayer> requantized, List<String> madeDense, int quantized) {
        public Result {
            requantized = List.copyOf(requantized);
            madeDense = List.copyOf(madeDense);
        }
    }

    private static final String WEIGHT = ".weight";
    private static final String BIAS = ".bias";

    private final TensorSource source;
    private final QuantizedLayers quantized;
    private final FluxModel model;
    private final Map<String, Adapter> adapters;
    private final QuantizedChanges changes;
    private final List<Linear> rewritten = new ArrayList<>();
    private final Map<String, Linear> changedByBias = new LinkedHashMap<>();
    private final Map<String, Matrix> norms = new LinkedHashMap<>();
    private final SequencedMap<String, TensorSpec> kept = new LinkedHashMap<>();
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();
    private final List<MergedLayer> requantized = new ArrayList<>();

    private FluxMerge(
            TensorSource source,
            QuantizedLayers quantized,
            FluxAdapters adapters,
            @Nullable DType dtype,
            QuantizedChanges changes) {
        this.source = source;
        this.quantized = quantized;
        this.model = adapters.model();
        this.adapters = adapters.layers();
        this.changes = changes;
        model.norms().forEach((name, values) -> norms.put(name + WEIGHT, values));
        Set<String> replaced = new HashSet<>();
        Set<String> dense = new HashSet<>(madeDense());
        for (Linear linear : model.linears()) {
            if (!this.adapters.containsKey(linear.name()) && !dense.contains(linear.name())) {
                continue;
            }
            rewritten.add(linear);
            changedByBias.put(linear.name() + BIAS, linear);
            boolean packed = quantized.find(linear.name()).isPresent();
            replaced.addAll(packed ? quantized.keys(linear.name()) : Set.of(linear.name() + WEIGHT));
            specs.putAll(declare(linear, dtype));
        }
        for (String name : source.names()) {
            if (!replaced.contains(name)) {
                Tensor tensor = source.tensor(name);
                DType type = tensor.dtype();
                if (dtype != null && type.isFloat() && !quantized.owns(name)) {
                    type = dtype;
                }
                kept.put(name, TensorSpec.of(type, tensor.shape()));
            }
        }
        specs.putAll(kept);
    }

    private boolean isRequantized(String layer) {
        return quantized.find(layer).isPresent()
                && switch (changes) {
                    case DENSE -> false;
                    case QUANTIZED_AGAIN -> true;
                    case QUANTIZED_AGAIN_BUT_INPUT -> !layer.equals(FluxModel.X_EMBEDDER);
                };
    }

    /// The type in which a quantized layer becomes dense: that of its bias, which is the model's, as in diffusers.
    private DType denseType(String layer, QuantizedWeight weight) {
        return source.contains(layer + BIAS) ? source.tensor(layer + BIAS).dtype() : weight.computeDtype();
    }

    /// The tensors of a changed weight.
    private SequencedMap<String, TensorSpec> declare(Linear linear, @Nullable DType dtype) {
        String layer = linear.name();
        int outFeatures = linear.weight().outFeatures();
        int inFeatures = linear.weight().inFeatures();
        if (isRequantized(layer)) {
            QuantizedWeight before = quantized.weight(layer);
            return before.quantizer().declare(layer, outFeatures, inFeatures, before.computeDtype());
        }
        DType type = dtype;
        if (type == null) {
            type =
                    quantized
                            .find(layer)
                            .map(weight -> denseType(layer, weight))
                            .orElseGet(() -> source.tensor(layer + WEIGHT).dtype());
        }
        SequencedMap<String, TensorSpec> spec = new LinkedHashMap<>();
        spec.put(layer + WEIGHT, TensorSpec.of(type, outFeatures, inFeatures));
        return spec;
    }

    /// Merges.
    ///
    /// @param directory of the transformer that the adapters are on
    /// @param force whether an output directory that holds something is accepted
    /// @param dtype of all dense float tensors of the result; null to keep each one's type
    /// @throws VectuneException if a merged value is not finite, nothing quantized changes though it should be
    ///   quantized again, or the result cannot be written
    public static Result directory(
            Path directory,
            Path out,
            boolean force,
            FluxAdapters adapters,
            @Nullable DType dtype,
            QuantizedChanges changes,
            Compute compute) {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = SafetensorsCheckpoint.open(directory, arena);
            QuantizedLayers quantized = QuantizedLayers.of(source, ModelFiles.quantization(directory, arena));
            FluxMerge job = new FluxMerge(source, quantized, adapters, dtype, changes);
            if (changes != QuantizedChanges.DENSE
                    && adapters.layers().keySet().stream().noneMatch(job::isRequantized)) {
                throw new VectuneException(
                        directory
                                + ": expected quantized layers under the adapters to quantize again, found "
                                + (quantized.names().isEmpty() ? "a dense transformer" : "none")
                                + "; merge without --requantize");
            }
            try (OutputDirectory target = OutputDirectory.create(out, force)) {
                try (CheckpointWriter writer =
                        new CheckpointWriter(
                                target.path(), ModelFiles.stem(directory), job.specs, Map.of("format", "pt"))) {
                    job.run(compute, writer);
                    writer.commit();
                }
                ModelFiles.copyBeside(directory, target.path());
                job.writeConfig(directory, target.path());
                target.commit();
            }
            return job.result();
        }
    }

    private Result result() {
        List<String> dense = madeDense();
        return new Result(adapters.size(), requantized, dense, quantized.names().size() - dense.size());
    }

    private boolean becomesDense(String layer) {
        return adapters.containsKey(layer) && quantized.find(layer).isPresent() && !isRequantized(layer);
    }

    private List<String> madeDense() {
        return quantized.names().stream()
                .filter(layer -> becomesDense(layer) || becomesDense(layer.substring(layer.lastIndexOf('.') + 1)))
                .toList();
    }

    private void writeConfig(Path from, Path to) {
        ObjectNode fields = StrictJson.readObject(from.resolve(ModelFiles.CONFIG));
        FluxConfig config = model.config();
        fields.put("in_channels", config.inChannels());
        fields.put("out_channels", config.outChannels());
        List<String> dense = madeDense();
        if (dense.size() == quantized.names().size()) {
            fields.remove(ModelFiles.QUANTIZATION);
        } else if (fields.get(ModelFiles.QUANTIZATION) instanceof ObjectNode quantization && !dense.isEmpty()) {
            ModelFiles.addSkippedModules(quantization, dense);
        }
        StrictJson.write(to.resolve(ModelFiles.CONFIG), fields);
    }

    private void run(Compute compute, CheckpointWriter writer) {
        for (Linear linear : rewritten) {
            writeWeight(compute, linear, writer);
        }
        kept.forEach((name, spec) -> {
            try (Arena arena = Arena.ofShared()) {
                Tensor result = result(name, arena);
                boolean casts = result.dtype() != spec.dtype();
                writer.write(name, (casts ? FloatCast.of(arena, result, spec.dtype()) : result).segment());
            }
        });
    }

    private void writeWeight(Compute compute, Linear linear, CheckpointWriter writer) {
        String layer = linear.name();
        Adapter adapter = adapters.get(layer);
        try (Arena arena = Arena.ofShared()) {
            Tensor merged =
                    adapter == null
                            ? decoded(linear.weight(), arena)
                            : MergedWeight.of(compute, layer, adapter, linear.weight(), arena);
            if (!isRequantized(layer)) {
                TensorSpec spec = specs.get(layer + WEIGHT);
                DType type = spec == null ? DType.F32 : spec.dtype();
                writer.write(layer + WEIGHT, FloatCast.of(arena, merged, type).segment());
                return;
            }
            QuantizedWeight before = quantized.weight(layer);
            Tensor typed = FloatCast.of(arena, merged, before.computeDtype());
            QuantizedWeight after = before.quantizer().quantize(compute, layer, typed, arena);
            after.tensors(layer, arena).forEach((name, tensor) -> writer.write(name, tensor.segment()));
            requantized.add(MergedLayer.of(layer, linear.weight(), after, merged.asMatrix()));
        }
    }

    private static Tensor decoded(Weight weight, Arena arena) {
        Tensor values = Tensor.allocate(arena, DType.F32, weight.outFeatures(), weight.inFeatures());
        DenseCopy.of(weight, values.asMatrix());
        return values;
    }

    /// A tensor that keeps its name and shape: the bias of a changed layer, a norm, or what no adapter changes.
    private Tensor result(String name, Arena arena) {
        Linear linear = changedByBias.get(name);
        Adapter adapter = linear == null ? null : adapters.get(linear.name());
        if (linear != null && adapter != null) {
            Tensor merged = Tensor.allocate(arena, DType.F32, linear.weight().outFeatures());
            adapter.mergeBias(linear.bias(), merged.asMatrix());
            return merged;
        }
        Matrix norm = norms.get(name);
        if (norm != null) {
            Tensor values = Tensor.allocate(arena, DType.F32, norm.columns());
            values.asMatrix().copyFrom(norm);
            return values;
        }
        return source.tensor(name);
    }
}
