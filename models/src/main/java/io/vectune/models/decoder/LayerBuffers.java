package io.vectune.models.decoder;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import org.jspecify.annotations.Nullable;

/// What the forward pass of one layer leaves for its backward pass. The normed inputs of the linear layers and the
/// output of the gate are not kept: they are cheap to compute again.
///
/// @param inputRms (tokens, 1), reciprocal root mean squares of the layer's input
/// @param projected (tokens, querySize + 2 keyValueSize): q, k and v side by side; rotated where there is no head norm
/// @param headNorms null where the architecture has no norm of query and key heads
/// @param attention (tokens, querySize)
/// @param logSumExp (tokens, numAttentionHeads)
/// @param middle (tokens, hiddenSize), the residual stream between attention and MLP
/// @param middleRms (tokens, 1)
/// @param gateUp (tokens, 2 intermediateSize): gate and up side by side; backward overwrites it with gradients
/// @param saved what adapters keep, one row for each of the four projections
record LayerBuffers(
        Matrix inputRms,
        Matrix projected,
        @Nullable HeadNorms headNorms,
        Matrix attention,
        Matrix logSumExp,
        Matrix middle,
        Matrix middleRms,
        Matrix gateUp,
        Saved saved) {
    /// @param query (tokens, querySize), normed and rotated
    /// @param key (tokens, keyValueSize), normed and rotated
    /// @param queryRms (tokens, numAttentionHeads)
    /// @param keyRms (tokens, numKeyValueHeads)
    record HeadNorms(Matrix query, Matrix key, Matrix queryRms, Matrix keyRms) {
        HeadNorms first(int tokens) {
            return new HeadNorms(
                    query.rows(0, tokens), key.rows(0, tokens), queryRms.rows(0, tokens), keyRms.rows(0, tokens));
        }
    }

    /// One row of floats for the adapters of each projection; null in inference.
    record Saved(
            @Nullable Matrix queryKeyValue, @Nullable Matrix output, @Nullable Matrix gateUp, @Nullable Matrix down) {
        static final Saved NOTHING = new Saved(null, null, null, null);
    }

    static LayerBuffers allocate(Arena arena, DecoderConfig config, int tokens, Saved saved) {
        HeadNorms norms =
                config.queryKeyNorm()
                        ? new HeadNorms(
                                Matrix.allocate(arena, tokens, config.querySize()),
                                Matrix.allocate(arena, tokens, config.keyValueSize()),
                                Matrix.allocate(arena, tokens, config.numAttentionHeads()),
                                Matrix.allocate(arena, tokens, config.numKeyValueHeads()))
                        : null;
        return new LayerBuffers(
                Matrix.allocate(arena, tokens, 1),
                Matrix.allocate(arena, tokens, config.querySize() + 2 * config.keyValueSize()),
                norms,
                Matrix.allocate(arena, tokens, config.querySize()),
                Matrix.allocate(arena, tokens, config.numAttentionHeads()),
                Matrix.allocate(arena, tokens, config.hiddenSize()),
                Matrix.allocate(arena, tokens, 1),
                Matrix.allocate(arena, tokens, 2 * config.intermediateSize()),
                saved);
    }

    /// Floats that [#allocate] takes for one token, without what adapters keep.
    static long floatsPerToken(DecoderConfig config) {
        long norms =
                config.queryKeyNorm()
                        ? (long) config.querySize()
                                + config.keyValueSize()
                                + config.numAttentionHeads()
                                + config.numKeyValueHeads()
                        : 0;
        return 2L
                + 2L * config.querySize()
                + 2L * config.keyValueSize()
                + norms
                + config.numAttentionHeads()
                + config.hiddenSize()
                + 2L * config.intermediateSize();
    }

    /// The part of the first `tokens` tokens.
    LayerBuffers first(int tokens) {
        return new LayerBuffers(
                inputRms.rows(0, tokens),
                projected.rows(0, tokens),
                headNorms == null ? null : headNorms.first(tokens),
                attention.rows(0, tokens),
                logSumExp.rows(0, tokens),
                middle.rows(0, tokens),
                middleRms.rows(0, tokens),
                gateUp.rows(0, tokens),
                saved);
    }
}
