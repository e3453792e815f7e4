package io.vectune.models.checkpoint;

import io.vectune.adapters.Adapter;
import io.vectune.models.decoder.Linear;
import io.vectune.models.flux.FluxAdapters;
import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxModel;
import io.vectune.quant.TensorSpec;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsCheckpoint;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ObjectNode;

/// Folds the active adapters of a Flux transformer into a copy of its directory, in f32, rounded once to the type of
/// the result: weights and biases with their updates, the wider input and the norms that a Control LoRA brings, and
/// `in_channels` of config.json.
///
/// Layers that no adapter changes stay as they are stored, quantized ones too. A quantized layer that changes becomes
/// dense, in the type in which its library dequantizes.
public final class FluxMerge {
    private static final String WEIGHT = ".weight";
    private static final String BIAS = ".bias";

    private final TensorSource source;
    private final QuantizedLayers quantized;
    private final FluxModel model;
    private final Map<String, Adapter> adapters;
    private final Map<String, Linear> linears = new LinkedHashMap<>();
    private final Map<String, Matrix> norms = new LinkedHashMap<>();
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();

    private FluxMerge(TensorSource source, QuantizedLayers quantized, FluxAdapters adapters, @Nullable DType dtype) {
        this.source = source;
        this.quantized = quantized;
        this.model = adapters.model();
        this.adapters = adapters.layers();
        for (Linear linear : model.linears()) {
            if (this.adapters.containsKey(linear.name())) {
                linears.put(linear.name() + WEIGHT, linear);
                linears.put(linear.name() + BIAS, linear);
            }
        }
        model.norms().forEach((name, values) -> norms.put(name + WEIGHT, values));
        for (String name : source.names()) {
            Tensor tensor = source.tensor(name);
            Linear linear = linears.get(name);
            String layer = name.endsWith(WEIGHT) ? name.substring(0, name.length() - WEIGHT.length()) : name;
            if (linear != null && name.endsWith(WEIGHT)) {
                DType stored =
                        quantized.find(layer).isPresent() ? quantized.weight(layer).computeDtype() : tensor.dtype();
                specs.put(
                        name,
                        TensorSpec.of(
                                dtype == null ? stored : dtype,
                                linear.weight().outFeatures(),
                                linear.weight().inFeatures()));
            } else if (!belongsToChangedLayer(name)) {
                DType type = tensor.dtype();
                if (dtype != null && type.isFloat() && !quantized.owns(name)) {
                    type = dtype;
                }
                specs.put(name, TensorSpec.of(type, tensor.shape()));
            }
        }
    }

    /// Whether a tensor is a part of a quantized weight that becomes dense.
    private boolean belongsToChangedLayer(String name) {
        return quantized.owns(name) && adapters.keySet().stream().anyMatch(layer -> name.startsWith(layer + "."));
    }

    /// What a merge did.
    ///
    /// @param changed layers that the adapters change
    /// @param madeDense of these, layers that were quantized before and are dense now
    /// @param quantized layers that are still quantized
    public record Result(int changed, int madeDense, int quantized) {}

    /// Merges.
    ///
    /// @param directory of the transformer that the adapters are on
    /// @param force whether an output directory that holds something is accepted
    /// @param dtype of all dense float tensors of the result; null to keep each one's type
    /// @throws io.vectune.runtime.VectuneException if the result cannot be written
    public static Result directory(
            Path directory, Path out, boolean force, FluxAdapters adapters, @Nullable DType dtype, Compute compute) {
        try (Arena arena = Arena.ofShared();
                OutputDirectory target = OutputDirectory.create(out, force)) {
            TensorSource source = SafetensorsCheckpoint.open(directory, arena);
            QuantizedLayers quantized = QuantizedLayers.of(source, ModelFiles.quantization(directory, arena));
            FluxMerge job = new FluxMerge(source, quantized, adapters, dtype);
            try (CheckpointWriter writer =
                    new CheckpointWriter(
                            target.path(), ModelFiles.stem(directory), job.specs, Map.of("format", "pt"))) {
                job.run(compute, writer);
                writer.commit();
            }
            ModelFiles.copyBeside(directory, target.path());
            job.writeConfig(directory, target.path());
            target.commit();
            int before = quantized.names().size();
            return new Result(adapters.layers().size(), before - job.stillQuantized(), job.stillQuantized());
        }
    }

    private int stillQuantized() {
        return (int) quantized.names().stream().filter(layer -> !adapters.containsKey(layer)).count();
    }

    private void writeConfig(Path from, Path to) {
        ObjectNode fields = StrictJson.readObject(from.resolve(ModelFiles.CONFIG));
        FluxConfig config = model.config();
        fields.put("in_channels", config.inChannels());
        fields.put("out_channels", config.outChannels());
        if (stillQuantized() == 0) {
            fields.remove(ModelFiles.QUANTIZATION);
        } else if (fields.get(ModelFiles.QUANTIZATION) instanceof ObjectNode quantization) {
            List<String> dense = quantized.names().stream().filter(adapters::containsKey).toList();
            ModelFiles.addSkippedModules(quantization, dense);
        }
        StrictJson.write(to.resolve(ModelFiles.CONFIG), fields);
    }

    private void run(Compute compute, CheckpointWriter writer) {
        for (Map.Entry<String, TensorSpec> entry : specs.entrySet()) {
            String name = entry.getKey();
            try (Arena arena = Arena.ofShared()) {
                Tensor result = result(compute, name, arena);
                boolean casts = result.dtype() != entry.getValue().dtype();
                Tensor stored = casts ? FloatCast.of(arena, result, entry.getValue().dtype()) : result;
                writer.write(name, stored.segment());
            }
        }
    }

    private Tensor result(Compute compute, String name, Arena arena) {
        Linear linear = linears.get(name);
        Matrix norm = norms.get(name);
        if (linear != null) {
            Adapter adapter = adapters.get(linear.name());
            if (adapter != null && name.endsWith(WEIGHT)) {
                Tensor merged =
                        Tensor.allocate(arena, DType.F32, linear.weight().outFeatures(), linear.weight().inFeatures());
                adapter.merge(compute, linear.weight(), merged.asMatrix());
                return merged;
            }
            if (adapter != null) {
                Tensor merged = Tensor.allocate(arena, DType.F32, linear.weight().outFeatures());
                adapter.mergeBias(linear.bias(), merged.asMatrix());
                return merged;
            }
        }
        if (norm != null) {
            Tensor values = Tensor.allocate(arena, DType.F32, norm.columns());
            values.asMatrix().copyFrom(norm);
            return values;
        }
        return source.tensor(name);
    }
}
