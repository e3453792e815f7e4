package io.vectune.models.decoder;

import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/// One layer of a decoder.
///
///     x = x + o(attention(rope(q(n1)), rope(k(n1)), v(n1)))      n1 = rmsNorm(x) * inputNorm
///     x = x + down(silu(gate(n2)) * up(n2))                      n2 = rmsNorm(x) * postAttentionNorm
///
/// @param inputNorm (1, hiddenSize)
/// @param queryNorm (1, headDim), or null where the architecture has none; likewise keyNorm
/// @param postAttentionNorm (1, hiddenSize)
public record DecoderLayer(
        int index,
        Matrix inputNorm,
        Linear query,
        Linear key,
        Linear value,
        @Nullable Matrix queryNorm,
        @Nullable Matrix keyNorm,
        Linear attentionOutput,
        Matrix postAttentionNorm,
        Linear gate,
        Linear up,
        Linear down) {
    /// The seven linear layers in the order of the forward pass.
    public List<Linear> linears() {
        return List.of(query, key, value, attentionOutput, gate, up, down);
    }

    DecoderLayer mapLinears(UnaryOperator<Linear> map) {
        return new DecoderLayer(
                index,
                inputNorm,
                map.apply(query),
                map.apply(key),
                map.apply(value),
                queryNorm,
                keyNorm,
                map.apply(attentionOutput),
                postAttentionNorm,
                map.apply(gate),
                map.apply(up),
                map.apply(down));
    }
}
