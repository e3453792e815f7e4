package io.vectune.models.load;

import io.vectune.quant.LoadContext;
import io.vectune.quant.WeightFormat;
import io.vectune.quant.WeightFormats;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// The tensors of a checkpoint as a model takes them, with a record of which were taken.
final class CheckpointTensors {
    private static final int NAMES_SHOWN = 3;
    private static final Set<String> METHODS = Set.of("hqq", "bitsandbytes");

    private final TensorSource source;
    private final Arena arena;
    private final LoadContext context;
    private final Set<String> taken = new HashSet<>();
    private int quantizedWeights;

    CheckpointTensors(TensorSource source, Arena arena, @Nullable JsonNode quantizationConfig) {
        this.source = source;
        this.arena = arena;
        this.context = new LoadContext(arena, quantizationConfig);
        if (quantizationConfig != null && quantizationConfig.path("quant_method").isString()) {
            String method = quantizationConfig.path("quant_method").asString();
            if (!METHODS.contains(method)) {
                throw new FileFormatException(
                        source.origin()
                                + ": quantization_config of config.json: quant_method: expected hqq or bitsandbytes,"
                                + " found "
                                + method
                                + "; this format cannot be read");
            }
        }
    }

    /// A vector as a matrix (1, size) in f32; a copy.
    Matrix vector(String name, int size) {
        Tensor tensor = take(name);
        requireShape(name, tensor, size);
        Matrix row = Matrix.allocate(arena, 1, size);
        for (int i = 0; i < size; i++) {
            row.set(0, i, tensor.getFloat(i));
        }
        return row;
    }

    /// The weight of a module: dense from `module.weight`, or in the quantized format that its tensors show.
    Weight weight(String module, int outFeatures, int inFeatures) {
        WeightFormat format = WeightFormats.of(source, module).orElse(null);
        if (format != null) {
            taken.addAll(format.keys(source, module));
            Weight quantized = format.load(source, module, context);
            quantizedWeights++;
            if (quantized.outFeatures() != outFeatures || quantized.inFeatures() != inFeatures) {
                throw new FileFormatException(
                        source.origin()
                                + ": "
                                + module
                                + ": expected a weight ["
                                + outFeatures
                                + ", "
                                + inFeatures
                                + "] as config.json says, found ["
                                + quantized.outFeatures()
                                + ", "
                                + quantized.inFeatures()
                                + "]");
            }
            return quantized;
        }
        String name = module + ".weight";
        Tensor tensor = take(name);
        requireShape(name, tensor, outFeatures, inFeatures);
        return new DenseWeight(tensor);
    }

    boolean has(String name) {
        return source.contains(name);
    }

    /// Marks a tensor as known, though nothing reads it.
    void ignore(String name) {
        taken.add(name);
    }

    /// @throws FileFormatException if the checkpoint holds tensors that nobody took, or config.json speaks of quantized
    ///   weights and there are none
    void requireAllTaken() {
        JsonNode config = context.quantizationConfig();
        if (config != null && config.path("quant_method").isString() && quantizedWeights == 0) {
            throw new FileFormatException(
                    source.origin()
                            + ": quantization_config of config.json says quant_method "
                            + config.path("quant_method").asString()
                            + ", but all weights are dense; take it out of config.json, or use the quantized weights");
        }
        List<String> unexpected = new ArrayList<>();
        for (String name : source.names()) {
            if (!taken.contains(name) && !name.endsWith("rotary_emb.inv_freq")) {
                unexpected.add(name);
            }
        }
        if (!unexpected.isEmpty()) {
            String more = unexpected.size() > NAMES_SHOWN ? " and " + (unexpected.size() - NAMES_SHOWN) + " more" : "";
            throw new FileFormatException(
                    source.origin()
                            + ": unexpected tensors "
                            + String.join(", ", unexpected.subList(0, Math.min(NAMES_SHOWN, unexpected.size())))
                            + more
                            + "; config.json describes a model without them");
        }
    }

    private Tensor take(String name) {
        if (!source.contains(name)) {
            throw source.missing(name);
        }
        taken.add(name);
        Tensor tensor = source.tensor(name);
        if (!tensor.dtype().isFloat()) {
            throw new FileFormatException(
                    source.origin() + ": tensor " + name + ": expected F32, F16 or BF16, found " + tensor.dtype());
        }
        return tensor;
    }

    private void requireShape(String name, Tensor tensor, long... shape) {
        if (!Arrays.equals(tensor.shape(), shape)) {
            throw new FileFormatException(
                    source.origin()
                            + ": tensor "
                            + name
                            + ": expected shape "
                            + Arrays.toString(shape)
                            + " as config.json says, found "
                            + Arrays.toString(tensor.shape()));
        }
    }
}
