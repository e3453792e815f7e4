package io.vectune.models.decoder;

import io.vectune.runtime.tensor.Matrix;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
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

    /// Name of the norm before attention.
    String inputNormName() {
        return "model.layers." + index + ".input_layernorm";
    }

    /// Name of the norm before the MLP.
    String postAttentionNormName() {
        return "model.layers." + index + ".post_attention_layernorm";
    }

    /// Name of the norm of each query head.
    String queryNormName() {
        return "model.layers." + index + ".self_attn.q_norm";
    }

    /// Name of the norm of each key head.
    String keyNormName() {
        return "model.layers." + index + ".self_attn.k_norm";
    }

    /// The scales of the layer's norms, by name.
    Map<String, Matrix> norms() {
        Map<String, Matrix> norms = new LinkedHashMap<>();
        norms.put(inputNormName(), inputNorm);
        if (queryNorm != null) {
            norms.put(queryNormName(), queryNorm);
        }
        if (keyNorm != null) {
            norms.put(keyNormName(), keyNorm);
        }
        norms.put(postAttentionNormName(), postAttentionNorm);
        return norms;
    }

    DecoderLayer mapNorms(BiFunction<String, Matrix, Matrix> map) {
        return new DecoderLayer(
                index,
                map.apply(inputNormName(), inputNorm),
                query,
                key,
                value,
                queryNorm == null ? null : map.apply(queryNormName(), queryNorm),
                keyNorm == null ? null : map.apply(keyNormName(), keyNorm),
                attentionOutput,
                map.apply(postAttentionNormName(), postAttentionNorm),
                gate,
                up,
                down);
    }
}
