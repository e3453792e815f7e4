package io.vectune.jmh;

import io.vectune.models.bench.RandomWeights;
import io.vectune.models.decoder.Linear;
import io.vectune.models.flux.DoubleStreamLayers;
import io.vectune.models.flux.EmbedderLayers;
import io.vectune.models.flux.FluxConfig;
import io.vectune.models.flux.FluxInputs;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.SingleStreamLayers;
import io.vectune.models.flux.StreamLayers;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Transformers of the widths of FLUX.1 with few blocks and random weights. Layers of one shape share their weight: a
/// product of thousands of tokens decodes each tile once and does not feel it.
final class FluxShape {
    private static final int HEADS = 24;
    private static final int HEAD_DIM = 128;
    private static final int LATENTS = 64;
    private static final int TEXT = 4096;
    private static final int POOLED = 768;
    private static final int MODULATIONS = 6;

    private final Compute compute;
    private final Arena arena;
    private final String format;
    private final FluxConfig config;
    private final Map<Long, Weight> weights = new HashMap<>();

    private FluxShape(Compute compute, Arena arena, String format, FluxConfig config) {
        this.compute = compute;
        this.arena = arena;
        this.format = format;
        this.config = config;
    }

    /// A transformer.
    ///
    /// @param format of the linear layers, as [RandomWeights] names them
    static FluxModel random(Compute compute, Arena arena, String format, int doubleBlocks, int singleBlocks) {
        FluxConfig config =
                new FluxConfig(
                        LATENTS,
                        LATENTS,
                        doubleBlocks,
                        singleBlocks,
                        HEAD_DIM,
                        HEADS,
                        TEXT,
                        POOLED,
                        true,
                        List.of(16, 56, 56));
        return new FluxShape(compute, arena, format, config).model();
    }

    /// Inputs of a square image and a prompt.
    ///
    /// @param side image tokens of a side: 64 for 1024 pixels
    static FluxInputs inputs(Arena arena, int side, int textTokens) {
        Matrix imageIds = Matrix.allocate(arena, side * side, 3);
        imageIds.fill(0);
        for (int row = 0; row < side; row++) {
            for (int column = 0; column < side; column++) {
                imageIds.set(row * side + column, 1, row);
                imageIds.set(row * side + column, 2, column);
            }
        }
        Matrix textIds = Matrix.allocate(arena, textTokens, 3);
        textIds.fill(0);
        return new FluxInputs(
                RandomWeights.matrix(arena, side * side, LATENTS, 1),
                RandomWeights.matrix(arena, textTokens, TEXT, 2),
                RandomWeights.matrix(arena, 1, POOLED, 3),
                0.5f,
                3.5f,
                imageIds,
                textIds);
    }

    private FluxModel model() {
        int dim = config.innerDim();
        List<DoubleStreamLayers> doubles = new ArrayList<>();
        for (int block = 0; block < config.numLayers(); block++) {
            String name = "transformer_blocks." + block + ".";
            doubles.add(new DoubleStreamLayers(stream(name + "image."), stream(name + "text.")));
        }
        List<SingleStreamLayers> singles = new ArrayList<>();
        for (int block = 0; block < config.numSingleLayers(); block++) {
            singles.add(single("single_transformer_blocks." + block + "."));
        }
        return new FluxModel(
                config,
                linear(FluxModel.X_EMBEDDER, dim, config.inChannels()),
                linear("context_embedder", dim, config.jointAttentionDim()),
                embedder("timestep_embedder", FluxConfig.TIMESTEP_CHANNELS),
                embedder("guidance_embedder", FluxConfig.TIMESTEP_CHANNELS),
                embedder("text_embedder", config.pooledProjectionDim()),
                doubles,
                singles,
                linear("norm_out.linear", 2 * dim, dim),
                linear("proj_out", config.outChannels(), dim));
    }

    private EmbedderLayers embedder(String name, int inFeatures) {
        int dim = config.innerDim();
        return new EmbedderLayers(linear(name + ".linear_1", dim, inFeatures), linear(name + ".linear_2", dim, dim));
    }

    private StreamLayers stream(String name) {
        int dim = config.innerDim();
        return new StreamLayers(
                linear(name + "norm1.linear", MODULATIONS * dim, dim),
                linear(name + "to_q", dim, dim),
                linear(name + "to_k", dim, dim),
                linear(name + "to_v", dim, dim),
                norm(),
                norm(),
                name + "norm_q",
                name + "norm_k",
                linear(name + "to_out.0", dim, dim),
                linear(name + "ff.net.0.proj", config.mlpDim(), dim),
                linear(name + "ff.net.2", dim, config.mlpDim()));
    }

    private SingleStreamLayers single(String name) {
        int dim = config.innerDim();
        return new SingleStreamLayers(
                linear(name + "norm.linear", MODULATIONS / 2 * dim, dim),
                linear(name + "attn.to_q", dim, dim),
                linear(name + "attn.to_k", dim, dim),
                linear(name + "attn.to_v", dim, dim),
                norm(),
                norm(),
                name + "attn.norm_q",
                name + "attn.norm_k",
                linear(name + "proj_mlp", config.mlpDim(), dim),
                linear(name + "proj_out", dim, dim + config.mlpDim()));
    }

    private Matrix norm() {
        Matrix norm = Matrix.allocate(arena, 1, config.headDim());
        norm.fill(1);
        return norm;
    }

    private Linear linear(String name, int outFeatures, int inFeatures) {
        Weight weight =
                weights.computeIfAbsent(
                        ((long) outFeatures << 32) | inFeatures,
                        shape -> RandomWeights.weight(compute, arena, format, outFeatures, inFeatures));
        return new Linear(name, weight, null);
    }
}
