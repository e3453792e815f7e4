package io.vectune.models.checkpoint;

import io.vectune.models.load.ModelTensors;
import io.vectune.quant.LoadContext;
import io.vectune.quant.QuantizedWeight;
import io.vectune.quant.TensorSpec;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DecodedWeight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Turns the quantized layers of a checkpoint back into dense `NAME.weight`; everything else stays byte for byte.
public final class DequantizeCheckpoint {
    private final TensorSource source;
    private final QuantizedLayers layers;
    private final @Nullable DType dtype;
    private final SequencedMap<String, TensorSpec> specs = new LinkedHashMap<>();

    private DequantizeCheckpoint(TensorSource source, QuantizedLayers layers, @Nullable DType dtype) {
        this.source = source;
        this.layers = layers;
        this.dtype = dtype;
        if (layers.names().isEmpty()) {
            throw new VectuneException(
                    source.origin()
                            + ": expected quantized layers, found none in "
                            + source.names().size()
                            + " tensors; there is nothing to dequantize");
        }
        for (String name : source.names()) {
            if (!layers.owns(name)) {
                specs.put(name, TensorSpec.of(source.tensor(name)));
            }
        }
        for (String layer : layers.names()) {
            QuantizedWeight weight = layers.weight(layer);
            specs.put(layer + ".weight", TensorSpec.of(type(weight), weight.outFeatures(), weight.inFeatures()));
        }
    }

    private DType type(QuantizedWeight weight) {
        return dtype == null ? weight.computeDtype() : dtype;
    }

    /// Dequantizes a model directory.
    ///
    /// @param dtype of the dense weights; null for the type in which their library dequantizes
    /// @param force whether an output directory that holds something is accepted
    /// @param progress gets each layer's name when it is done
    /// @return number of layers
    public static int directory(
            Path model, Path out, boolean force, @Nullable DType dtype, Compute compute, Consumer<String> progress) {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = ModelTensors.open(model, arena);
            DequantizeCheckpoint job =
                    new DequantizeCheckpoint(
                            source, QuantizedLayers.of(source, ModelFiles.quantization(model, arena)), dtype);
            try (OutputDirectory directory = OutputDirectory.create(out, force)) {
                try (CheckpointWriter writer =
                        new CheckpointWriter(
                                directory.path(), ModelFiles.stem(model), job.specs, Map.of("format", "pt"))) {
                    job.run(compute, (name, tensor) -> writer.write(name, tensor.segment()), progress);
                    writer.commit();
                }
                ModelFiles.copyBeside(model, directory.path());
                ModelFiles.writeConfig(model, directory.path(), null);
                directory.commit();
            }
            return job.layers.names().size();
        }
    }

    /// Dequantizes a safetensors file.
    public static int file(Path file, Path out, @Nullable DType dtype, Compute compute, Consumer<String> progress) {
        try (Arena arena = Arena.ofShared()) {
            TensorSource source = ModelTensors.open(file, arena);
            DequantizeCheckpoint job =
                    new DequantizeCheckpoint(source, QuantizedLayers.of(source, LoadContext.of(arena)), dtype);
            SafetensorsWriter.Declaration declaration = SafetensorsWriter.declare(source.metadata());
            job.specs.forEach((name, spec) -> declaration.tensor(name, spec.dtype(), spec.sizes()));
            try (SafetensorsWriter writer = declaration.create(out)) {
                job.run(compute, (name, tensor) -> writer.write(name, tensor.segment()), progress);
                writer.commit();
            }
            return job.layers.names().size();
        }
    }

    private void run(Compute compute, BiConsumer<String, Tensor> write, Consumer<String> progress) {
        for (String name : source.names()) {
            if (!layers.owns(name)) {
                write.accept(name, source.tensor(name));
            }
        }
        for (String layer : layers.names()) {
            try (Arena arena = Arena.ofShared()) {
                QuantizedWeight weight = layers.weight(layer);
                Tensor dense = DecodedWeight.of(compute, weight, arena);
                write.accept(layer + ".weight", FloatCast.of(arena, dense, type(weight)));
            }
            progress.accept(layer);
        }
    }
}
