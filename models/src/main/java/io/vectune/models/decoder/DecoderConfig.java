package io.vectune.models.decoder;

import io.vectune.runtime.nn.RotaryScaling;

/// The shape of a decoder: what config.json or the metadata of a GGUF file say.
///
/// @param hiddenSize features of the residual stream
/// @param intermediateSize features inside the MLP
/// @param numKeyValueHeads heads of keys and values; a divisor of numAttentionHeads
/// @param headDim features of one head; numAttentionHeads * headDim need not be hiddenSize
/// @param maxPositionEmbeddings tokens of context that the model was made for
/// @param rmsNormEps added to the mean square in every RMS norm
/// @param ropeTheta base of the rotary frequencies
/// @param tieWordEmbeddings whether the output head is the embedding
/// @param attentionBias bias on q, k and v
/// @param attentionOutputBias bias on o
/// @param mlpBias bias on gate, up and down
/// @param queryKeyNorm RMS norm of each query and key head before the rotary embedding
public record DecoderConfig(
        DecoderArchitecture architecture,
        int hiddenSize,
        int intermediateSize,
        int numHiddenLayers,
        int numAttentionHeads,
        int numKeyValueHeads,
        int headDim,
        int vocabSize,
        int maxPositionEmbeddings,
        float rmsNormEps,
        double ropeTheta,
        RotaryScaling rotaryScaling,
        boolean tieWordEmbeddings,
        boolean attentionBias,
        boolean attentionOutputBias,
        boolean mlpBias,
        boolean queryKeyNorm) {
    public DecoderConfig {
        requirePositive("hidden_size", hiddenSize);
        requirePositive("intermediate_size", intermediateSize);
        requirePositive("num_hidden_layers", numHiddenLayers);
        requirePositive("num_attention_heads", numAttentionHeads);
        requirePositive("num_key_value_heads", numKeyValueHeads);
        requirePositive("head_dim", headDim);
        requirePositive("vocab_size", vocabSize);
        requirePositive("max_position_embeddings", maxPositionEmbeddings);
        if (numAttentionHeads % numKeyValueHeads != 0) {
            throw new IllegalArgumentException(
                    "num_key_value_heads: expected a divisor of num_attention_heads "
                            + numAttentionHeads
                            + ", found "
                            + numKeyValueHeads);
        }
        if (headDim % 2 != 0) {
            throw new IllegalArgumentException(
                    "head_dim: expected an even number for the rotary embedding, found " + headDim);
        }
        if (!(rmsNormEps > 0) || !(ropeTheta > 0)) {
            throw new IllegalArgumentException(
                    "rms_norm_eps and rope_theta: expected positive numbers, found "
                            + rmsNormEps
                            + " and "
                            + ropeTheta);
        }
    }

    /// Features of all query heads together.
    public int querySize() {
        return Math.multiplyExact(numAttentionHeads, headDim);
    }

    /// Features of all key heads together, and of all value heads.
    public int keyValueSize() {
        return Math.multiplyExact(numKeyValueHeads, headDim);
    }

    private static void requirePositive(String name, int value) {
        if (value < 1) {
            throw new IllegalArgumentException(name + ": expected at least 1, found " + value);
        }
    }
}
