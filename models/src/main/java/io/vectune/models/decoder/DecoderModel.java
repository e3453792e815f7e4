package io.vectune.models.decoder;

import io.vectune.adapters.LayerSite;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;

/// The weights of a decoder. Immutable, shared by all threads; memory belongs to the arena of whoever loaded it.
///
/// @param embedding (vocabSize, hiddenSize)
/// @param norm (1, hiddenSize), the last norm
/// @param head the output head `lm_head`; with tied embeddings its weight is `embedding` itself
public record DecoderModel(
        DecoderConfig config, Weight embedding, List<DecoderLayer> layers, Matrix norm, Linear head) {
    /// Name of the output head.
    public static final String HEAD = "lm_head";

    /// Name of the last norm.
    public static final String NORM = "model.norm";

    /// Name of the embedding.
    public static final String EMBEDDING = "model.embed_tokens";

    public DecoderModel {
        layers = List.copyOf(layers);
        if (layers.size() != config.numHiddenLayers()) {
            throw new IllegalArgumentException(
                    "layers: expected " + config.numHiddenLayers() + ", found " + layers.size());
        }
    }

    /// All linear layers, those of the layers first, the output head last.
    public List<Linear> linears() {
        List<Linear> linears = new ArrayList<>();
        layers.forEach(layer -> linears.addAll(layer.linears()));
        linears.add(head);
        return linears;
    }

    /// The places where adapters can sit: linear layers, then norms and the embedding.
    public List<LayerSite> sites() {
        List<LayerSite> sites = new ArrayList<>();
        for (Linear linear : linears()) {
            sites.add(new LayerSite(linear.name(), linear.weight(), linear.bias(), linear.name().equals(HEAD)));
        }
        layers.forEach(layer -> layer.norms().forEach((name, scale) -> sites.add(norm(name, scale))));
        sites.add(norm(NORM, norm));
        sites.add(new LayerSite(EMBEDDING, embedding, null, LayerSite.Part.EMBEDDING));
        return sites;
    }

    private static LayerSite norm(String name, Matrix scale) {
        long[] shape = {1, scale.columns()};
        Tensor row = Tensor.of(DType.F32, shape, scale.segment().asSlice(scale.offset(), 4L * scale.columns()));
        return new LayerSite(name, new DenseWeight(row), null, LayerSite.Part.NORM);
    }

    /// This model with other scales in its norms.
    ///
    /// @param map gives the scale to use, by the norm's name; the same object to keep it
    public DecoderModel withNorms(BiFunction<String, Matrix, Matrix> map) {
        return new DecoderModel(
                config,
                embedding,
                layers.stream().map(layer -> layer.mapNorms(map)).toList(),
                map.apply(NORM, norm),
                head);
    }

    /// This model with another embedding.
    ///
    /// @param both whether a tied head gets it too and stays tied
    public DecoderModel withEmbedding(Weight replacement, boolean both) {
        boolean follows = both && isTied();
        return new DecoderModel(
                config, replacement, layers, norm, follows ? new Linear(HEAD, replacement, head.bias()) : head);
    }

    /// Refuses tokens that the vocabulary does not have, before anything is computed from them.
    ///
    /// @param what the text or row, for the message
    void requireTokens(String what, int[] tokens) {
        for (int index = 0; index < tokens.length; index++) {
            if (tokens[index] < 0 || tokens[index] >= embedding.outFeatures()) {
                throw new IllegalArgumentException(
                        what
                                + "["
                                + index
                                + "]: expected a token from 0 to "
                                + (embedding.outFeatures() - 1)
                                + ", found "
                                + tokens[index]);
            }
        }
    }

    /// The linear layer of that name.
    public Optional<Linear> linear(String name) {
        return linears().stream().filter(linear -> linear.name().equals(name)).findFirst();
    }

    /// This model with other weights in its linear layers, the head included: quantized on load, merged with an
    /// adapter. A tied head whose weight is replaced is no longer tied; the embedding stays as it is.
    ///
    /// @param map gives the layer to use; the same object to keep it
    public DecoderModel withLinears(UnaryOperator<Linear> map) {
        Linear newHead = map.apply(head);
        return new DecoderModel(
                config, embedding, layers.stream().map(layer -> layer.mapLinears(map)).toList(), norm, newHead);
    }

    /// Whether head and embedding are one weight.
    public boolean isTied() {
        return isEmbedding(head.weight());
    }

    @SuppressWarnings("ReferenceEquality") // tied means one object, not equal content
    private boolean isEmbedding(Weight weight) {
        return weight == embedding;
    }

    /// Bytes of all weights as they are stored.
    public long storageBytes() {
        long bytes = embedding.storageBytes();
        for (Linear linear : linears()) {
            if (!isEmbedding(linear.weight())) {
                bytes += linear.weight().storageBytes();
            }
        }
        return bytes;
    }

    /// Bytes that the products of few tokens keep beside the stored weights, so far: see [Weight#fusedBytes].
    public long fusedBytes() {
        long bytes = isTied() ? 0 : embedding.fusedBytes();
        for (Linear linear : linears()) {
            bytes += linear.weight().fusedBytes();
        }
        return bytes;
    }

    /// Number of parameters, tied ones counted once.
    public long parameters() {
        long parameters = elements(embedding) + norm.columns();
        for (DecoderLayer layer : layers) {
            parameters += layer.inputNorm().columns() + layer.postAttentionNorm().columns();
            Matrix queryNorm = layer.queryNorm();
            Matrix keyNorm = layer.keyNorm();
            parameters += (queryNorm == null ? 0 : queryNorm.columns()) + (keyNorm == null ? 0 : keyNorm.columns());
        }
        for (Linear linear : linears()) {
            Matrix bias = linear.bias();
            parameters +=
                    (isEmbedding(linear.weight()) ? 0 : elements(linear.weight()))
                            + (bias == null ? 0 : bias.columns());
        }
        return parameters;
    }

    private static long elements(Weight weight) {
        return (long) weight.outFeatures() * weight.inFeatures();
    }
}
