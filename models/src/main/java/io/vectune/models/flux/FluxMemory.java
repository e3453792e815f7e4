package io.vectune.models.flux;

import io.vectune.adapters.Adapter;
import io.vectune.models.decoder.Linear;
import java.util.List;
import java.util.Map;

/// The memory that a pass takes for activations, known before it runs: matrices of T tokens, text and image, by D =
/// innerDim and M = mlpDim features. What grows with neither (conditioning, modulations) is left out.
///
/// | | tokens x features |
/// |---|---|
/// | the sequence | T D |
/// | a block in inference | 5 T D + T M |
/// | training: inputs of all blocks, the sequence's gradient | (blocks + 1) T D |
/// | a double stream block, recorded | 11 T D + 2 T M |
/// | its backward, I image tokens | T D + I (D + M), or 4 T D + 2 I D if that is more |
/// | a single stream block, recorded | 8 T D + 2 T M |
/// | its backward | 6 T D + T M |
public final class FluxMemory {
    private FluxMemory() {}

    /// Bytes of a prediction.
    public static long inferenceBytes(FluxConfig config, int imageTokens, int textTokens) {
        long tokens = (long) imageTokens + textTokens;
        return Float.BYTES * tokens * (6L * config.innerDim() + config.mlpDim());
    }

    /// Bytes of a loss with its gradients.
    ///
    /// @param adapters by module name, what they save for backward is counted
    public static long trainingBytes(
            FluxModel model, Map<String, ? extends Adapter> adapters, int imageTokens, int textTokens) {
        FluxConfig config = model.config();
        long tokens = (long) imageTokens + textTokens;
        long dim = config.innerDim();
        long mlp = config.mlpDim();
        // Statistics of the heads' norms and of the attention, of the rows' norms.
        long statistics = tokens * (3L * config.heads() + 4);
        long recordedDouble = tokens * (11 * dim + 2 * mlp) + statistics;
        long backwardDouble =
                Math.max(tokens * dim + (dim + mlp) * imageTokens, tokens * 4 * dim + 2 * dim * imageTokens);
        long recordedSingle = tokens * (8 * dim + 2 * mlp) + statistics;
        long backwardSingle = tokens * (6 * dim + mlp);
        long block = 0;
        for (DoubleStreamLayers layers : model.doubleBlocks()) {
            long saved =
                    saved(layers.image().linears(), adapters, imageTokens)
                            + saved(layers.text().linears(), adapters, textTokens);
            block = Math.max(block, recordedDouble + backwardDouble + saved);
        }
        for (SingleStreamLayers layers : model.singleBlocks()) {
            long saved = saved(layers.linears(), adapters, imageTokens + textTokens);
            block = Math.max(block, recordedSingle + backwardSingle + saved);
        }
        long kept = tokens * dim * (2L + config.numLayers() + config.numSingleLayers());
        return Float.BYTES * (kept + block);
    }

    private static long saved(List<Linear> linears, Map<String, ? extends Adapter> adapters, int tokens) {
        long floats = 0;
        for (Linear linear : linears) {
            Adapter adapter = adapters.get(linear.name());
            floats += adapter == null ? 0 : adapter.savedFloats(tokens);
        }
        return floats;
    }
}
