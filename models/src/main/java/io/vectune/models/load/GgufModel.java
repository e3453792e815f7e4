package io.vectune.models.load;

import io.vectune.models.decoder.DecoderArchitecture;
import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderLayer;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.quant.gguf.GgufFile;
import io.vectune.quant.gguf.GgufMetadata;
import io.vectune.quant.gguf.GgufTensor;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.nn.RotaryScaling;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// Builds a decoder from a GGUF file: configuration from its metadata, tensors under the names of llama.cpp. Weights
/// stay in the file's format; only the rows of q and k of Llama models are copied into the half-split order.
final class GgufModel {
    private static final String ROPE_FREQUENCIES = "rope_freqs.weight";

    // What Llama 3.1 and 3.2 were stretched with; converters store only the resulting divisors of the frequencies.
    private static final float LLAMA3_LOW = 1;
    private static final float LLAMA3_HIGH = 4;
    private static final int LLAMA3_CONTEXT = 8192;
    private static final double DIVISOR_RTOL = 1e-4;

    private final GgufFile file;
    private final Arena arena;
    private final DecoderConfig config;
    private final Set<String> taken = new HashSet<>();

    private GgufModel(GgufFile file, Arena arena) {
        this.file = file;
        this.arena = arena;
        this.config = config(file);
    }

    /// @throws FileFormatException naming the key or tensor that is missing, unexpected or of another shape
    static DecoderModel build(GgufFile file, Arena arena) {
        return new GgufModel(file, arena).build();
    }

    /// The tokens that end a text: end of text and, where the file names one, end of turn.
    static GenerationDefaults generation(GgufFile file) {
        Set<Integer> ends = new HashSet<>();
        for (String key : List.of("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")) {
            if (file.metadata().has(key)) {
                ends.add(file.metadata().integer(key));
            }
        }
        return GenerationDefaults.endedBy(ends);
    }

    static DecoderConfig config(GgufFile file) {
        GgufMetadata metadata = file.metadata();
        String name = metadata.string("general.architecture");
        DecoderArchitecture architecture =
                DecoderArchitecture.ofName(name)
                        .orElseThrow(() ->
                                new FileFormatException(
                                        file.origin()
                                                + ": architecture "
                                                + name
                                                + " is not supported; supported are "
                                                + HuggingFaceConfig.supported()));
        int hiddenSize = metadata.integer(name + ".embedding_length");
        int heads = metadata.integer(name + ".attention.head_count");
        int headDim = metadata.integer(name + ".attention.key_length", heads > 0 ? hiddenSize / heads : 0);
        int rotated = metadata.integer(name + ".rope.dimension_count", headDim);
        if (rotated != headDim) {
            throw new FileFormatException(
                    file.origin()
                            + ": "
                            + name
                            + ".rope.dimension_count: expected the head dimension "
                            + headDim
                            + ", found "
                            + rotated);
        }
        long vocabSize = file.tensor("token_embd.weight").shape()[0];
        double theta = metadata.real(name + ".rope.freq_base", 10_000);
        try {
            return new DecoderConfig(
                    architecture,
                    hiddenSize,
                    metadata.integer(name + ".feed_forward_length"),
                    metadata.integer(name + ".block_count"),
                    heads,
                    metadata.integer(name + ".attention.head_count_kv", heads),
                    headDim,
                    Math.toIntExact(vocabSize),
                    metadata.integer(name + ".context_length"),
                    (float) metadata.real(name + ".attention.layer_norm_rms_epsilon"),
                    theta,
                    scaling(file, name, theta, headDim),
                    !file.hasTensor("output.weight"),
                    file.hasTensor("blk.0.attn_q.bias"),
                    file.hasTensor("blk.0.attn_output.bias"),
                    file.hasTensor("blk.0.ffn_gate.bias"),
                    file.hasTensor("blk.0.attn_q_norm.weight"));
        } catch (IllegalArgumentException | ArithmeticException contradiction) {
            throw new FileFormatException(file.origin() + ": " + contradiction.getMessage(), contradiction);
        }
    }

    private static RotaryScaling scaling(GgufFile file, String name, double theta, int headDim) {
        GgufMetadata metadata = file.metadata();
        if (file.hasTensor(ROPE_FREQUENCIES)) {
            return llama3(file, theta, headDim);
        }
        String type = metadata.string(name + ".rope.scaling.type", "none");
        return switch (type) {
            case "none" -> new RotaryScaling.None();
            case "linear" -> new RotaryScaling.Linear((float) metadata.real(name + ".rope.scaling.factor"));
            default ->
                    throw new FileFormatException(
                            file.origin()
                                    + ": "
                                    + name
                                    + ".rope.scaling.type "
                                    + type
                                    + " is not supported; supported are none and linear");
        };
    }

    private static RotaryScaling llama3(GgufFile file, double theta, int headDim) {
        try (Arena temporary = Arena.ofConfined()) {
            Tensor divisors = file.tensor(ROPE_FREQUENCIES).dequantize(temporary);
            float factor = 1;
            for (int i = 0; i < divisors.elements(); i++) {
                factor = Math.max(factor, divisors.getFloat(i));
            }
            RotaryScaling scaling = new RotaryScaling.Llama3(factor, LLAMA3_LOW, LLAMA3_HIGH, LLAMA3_CONTEXT);
            for (int i = 0; i < divisors.elements(); i++) {
                double expected = llama3Divisor(theta, headDim, i, factor);
                double found = divisors.getFloat(i);
                if (!(Math.abs(found - expected) <= DIVISOR_RTOL * expected)) {
                    throw new FileFormatException(
                            file.origin()
                                    + ": "
                                    + ROPE_FREQUENCIES
                                    + "["
                                    + i
                                    + "]: expected "
                                    + expected
                                    + ", the scaling of Llama 3 by a factor of "
                                    + factor
                                    + ", found "
                                    + found);
                }
            }
            return scaling;
        }
    }

    /// What the frequency i is divided by in Llama 3.
    private static double llama3Divisor(double theta, int headDim, int i, double factor) {
        double wavelength = 2 * Math.PI * Math.pow(theta, 2.0 * i / headDim);
        double turns = LLAMA3_CONTEXT / wavelength;
        if (turns < LLAMA3_LOW) {
            return factor;
        }
        if (turns > LLAMA3_HIGH) {
            return 1;
        }
        double smooth = (turns - LLAMA3_LOW) / (LLAMA3_HIGH - LLAMA3_LOW);
        return 1 / ((1 - smooth) / factor + smooth);
    }

    private DecoderModel build() {
        taken.add(ROPE_FREQUENCIES);
        Weight embedding = weight("token_embd", config.vocabSize(), config.hiddenSize(), 0);
        List<DecoderLayer> layers = new ArrayList<>();
        for (int index = 0; index < config.numHiddenLayers(); index++) {
            layers.add(layer(index));
        }
        Matrix norm = vector("output_norm.weight", config.hiddenSize(), 0);
        Weight head =
                config.tieWordEmbeddings() ? embedding : weight("output", config.vocabSize(), config.hiddenSize(), 0);
        List<String> unexpected = file.tensors().keySet().stream().filter(name -> !taken.contains(name)).toList();
        if (!unexpected.isEmpty()) {
            throw new FileFormatException(
                    file.origin()
                            + ": "
                            + unexpected.size()
                            + " unexpected tensors, the first is "
                            + unexpected.getFirst()
                            + "; the metadata describe a model without them");
        }
        return new DecoderModel(config, embedding, layers, norm, new Linear(DecoderModel.HEAD, head, null));
    }

    private DecoderLayer layer(int index) {
        String block = "blk." + index + ".";
        String module = "model.layers." + index + ".";
        int hidden = config.hiddenSize();
        int intermediate = config.intermediateSize();
        int keyValue = config.keyValueSize();
        boolean interleaved = config.architecture() == DecoderArchitecture.LLAMA;
        int queryHeads = interleaved ? config.numAttentionHeads() : 0;
        int keyHeads = interleaved ? config.numKeyValueHeads() : 0;
        boolean bias = config.attentionBias();
        boolean headNorm = config.queryKeyNorm();
        return new DecoderLayer(
                index,
                vector(block + "attn_norm.weight", hidden, 0),
                linear(module + "self_attn.q_proj", block + "attn_q", config.querySize(), hidden, bias, queryHeads),
                linear(module + "self_attn.k_proj", block + "attn_k", keyValue, hidden, bias, keyHeads),
                linear(module + "self_attn.v_proj", block + "attn_v", keyValue, hidden, bias, 0),
                headNorm ? vector(block + "attn_q_norm.weight", config.headDim(), 0) : null,
                headNorm ? vector(block + "attn_k_norm.weight", config.headDim(), 0) : null,
                linear(
                        module + "self_attn.o_proj",
                        block + "attn_output",
                        hidden,
                        config.querySize(),
                        config.attentionOutputBias(),
                        0),
                vector(block + "ffn_norm.weight", hidden, 0),
                linear(module + "mlp.gate_proj", block + "ffn_gate", intermediate, hidden, config.mlpBias(), 0),
                linear(module + "mlp.up_proj", block + "ffn_up", intermediate, hidden, config.mlpBias(), 0),
                linear(module + "mlp.down_proj", block + "ffn_down", hidden, intermediate, config.mlpBias(), 0));
    }

    /// @param interleavedHeads heads whose rows are interleaved in the file, 0 for none
    private Linear linear(
            String module, String name, int outFeatures, int inFeatures, boolean bias, int interleavedHeads) {
        Weight weight = weight(name, outFeatures, inFeatures, interleavedHeads);
        return new Linear(module, weight, bias ? vector(name + ".bias", outFeatures, interleavedHeads) : null);
    }

    private Weight weight(String name, int outFeatures, int inFeatures, int interleavedHeads) {
        GgufTensor tensor = take(name + ".weight", outFeatures, inFeatures);
        int[] order = order(interleavedHeads);
        return (order == null ? tensor : tensor.permuteRows(arena, order)).weight();
    }

    private Matrix vector(String name, int size, int interleavedHeads) {
        Tensor values = take(name, size).dequantize(arena);
        int[] order = order(interleavedHeads);
        Matrix row = Matrix.allocate(arena, 1, size);
        for (int i = 0; i < size; i++) {
            row.set(0, i, values.getFloat(order == null ? i : order[i]));
        }
        return row;
    }

    private int @Nullable [] order(int interleavedHeads) {
        return interleavedHeads == 0 ? null : GgufTensor.halfSplitHeads(interleavedHeads, config.headDim());
    }

    private GgufTensor take(String name, long... shape) {
        GgufTensor tensor = file.tensor(name);
        taken.add(name);
        if (!Arrays.equals(tensor.shape(), shape)) {
            throw new FileFormatException(
                    file.origin()
                            + ": tensor "
                            + name
                            + ": expected shape "
                            + Arrays.toString(shape)
                            + " as the metadata say, found "
                            + Arrays.toString(tensor.shape()));
        }
        return tensor;
    }
}
