package io.vectune.models.bench;

import io.vectune.models.decoder.DecoderArchitecture;
import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderLayer;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.RotaryScaling;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/// A model of the shape of SmolLM2-135M with random weights.
public final class SmolLmShape {
    /// Norm weights that keep the activations of uniform weights in [-1, 1) near size one.
    private static final float NORM = 0.05f;

    /// The sizes of SmolLM2-135M.
    public static final DecoderConfig CONFIG =
            new DecoderConfig(
                    DecoderArchitecture.LLAMA,
                    576,
                    1536,
                    30,
                    9,
                    3,
                    64,
                    49_152,
                    8192,
                    1e-5f,
                    100_000,
                    new RotaryScaling.None(),
                    true,
                    false,
                    false,
                    false,
                    false);

    /// Weights of the linear layers, each of which every token meets.
    public static final long LINEAR_WEIGHTS = 30L * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576);

    /// Weights of the head, which a prompt meets once and a training step with every token.
    public static final long HEAD_WEIGHTS = 49_152L * 576;

    private SmolLmShape() {}

    /// The model.
    ///
    /// @param format of the linear layers, as [RandomWeights] names them; embedding and head are f32, or q8_0 beside
    ///   GGUF block types
    public static DecoderModel random(Compute compute, Arena arena, String format) {
        int hidden = CONFIG.hiddenSize();
        int keyValue = CONFIG.keyValueSize();
        int intermediate = CONFIG.intermediateSize();
        List<DecoderLayer> layers = new ArrayList<>();
        for (int index = 0; index < CONFIG.numHiddenLayers(); index++) {
            String attention = "model.layers." + index + ".self_attn.";
            String mlp = "model.layers." + index + ".mlp.";
            layers.add(
                    new DecoderLayer(
                            index,
                            norm(arena),
                            linear(compute, arena, format, attention + "q_proj", hidden, hidden),
                            linear(compute, arena, format, attention + "k_proj", keyValue, hidden),
                            linear(compute, arena, format, attention + "v_proj", keyValue, hidden),
                            null,
                            null,
                            linear(compute, arena, format, attention + "o_proj", hidden, hidden),
                            norm(arena),
                            linear(compute, arena, format, mlp + "gate_proj", intermediate, hidden),
                            linear(compute, arena, format, mlp + "up_proj", intermediate, hidden),
                            linear(compute, arena, format, mlp + "down_proj", hidden, intermediate)));
        }
        String tableFormat = format.startsWith("q") ? "q8_0" : "f32";
        Weight embedding = RandomWeights.weight(compute, arena, tableFormat, CONFIG.vocabSize(), hidden);
        return new DecoderModel(CONFIG, embedding, layers, norm(arena), new Linear(DecoderModel.HEAD, embedding, null));
    }

    private static Matrix norm(Arena arena) {
        Matrix norm = Matrix.allocate(arena, 1, CONFIG.hiddenSize());
        norm.fill(NORM);
        return norm;
    }

    private static Linear linear(
            Compute compute, Arena arena, String format, String name, int outFeatures, int inFeatures) {
        return new Linear(name, RandomWeights.weight(compute, arena, format, outFeatures, inFeatures), null);
    }
}
