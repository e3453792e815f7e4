package io.vectune.models.load;

import io.vectune.models.decoder.DecoderConfig;
import io.vectune.models.decoder.DecoderLayer;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;

/// Builds a decoder from tensors with the names of Hugging Face checkpoints.
final class HuggingFaceModel {
    private HuggingFaceModel() {}

    static DecoderModel build(DecoderConfig config, CheckpointTensors tensors) {
        Weight embedding = tensors.weight(DecoderModel.EMBEDDING, config.vocabSize(), config.hiddenSize());
        List<DecoderLayer> layers = new ArrayList<>();
        for (int index = 0; index < config.numHiddenLayers(); index++) {
            layers.add(layer(config, tensors, index));
        }
        Matrix norm = tensors.vector("model.norm.weight", config.hiddenSize());
        Weight head = embedding;
        if (config.tieWordEmbeddings()) {
            tensors.ignore("lm_head.weight");
        } else {
            head = tensors.weight(DecoderModel.HEAD, config.vocabSize(), config.hiddenSize());
        }
        tensors.requireAllTaken();
        return new DecoderModel(config, embedding, layers, norm, new Linear(DecoderModel.HEAD, head, null));
    }

    private static DecoderLayer layer(DecoderConfig config, CheckpointTensors tensors, int index) {
        String prefix = "model.layers." + index + ".";
        String attention = prefix + "self_attn.";
        String mlp = prefix + "mlp.";
        int hidden = config.hiddenSize();
        int intermediate = config.intermediateSize();
        int keyValue = config.keyValueSize();
        boolean headNorm = config.queryKeyNorm();
        return new DecoderLayer(
                index,
                tensors.vector(prefix + "input_layernorm.weight", hidden),
                linear(tensors, attention + "q_proj", config.querySize(), hidden, config.attentionBias()),
                linear(tensors, attention + "k_proj", keyValue, hidden, config.attentionBias()),
                linear(tensors, attention + "v_proj", keyValue, hidden, config.attentionBias()),
                headNorm ? tensors.vector(attention + "q_norm.weight", config.headDim()) : null,
                headNorm ? tensors.vector(attention + "k_norm.weight", config.headDim()) : null,
                linear(tensors, attention + "o_proj", hidden, config.querySize(), config.attentionOutputBias()),
                tensors.vector(prefix + "post_attention_layernorm.weight", hidden),
                linear(tensors, mlp + "gate_proj", intermediate, hidden, config.mlpBias()),
                linear(tensors, mlp + "up_proj", intermediate, hidden, config.mlpBias()),
                linear(tensors, mlp + "down_proj", hidden, intermediate, config.mlpBias()));
    }

    private static Linear linear(
            CheckpointTensors tensors, String name, int outFeatures, int inFeatures, boolean bias) {
        Weight weight = tensors.weight(name, outFeatures, inFeatures);
        return new Linear(name, weight, bias ? tensors.vector(name + ".bias", outFeatures) : null);
    }
}
