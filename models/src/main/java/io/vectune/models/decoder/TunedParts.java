package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.NormScale;
import io.vectune.adapters.TokenTable;
import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.Embedding;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The parts of a model that are no linear layers, as the adapters of a run have them: norms and the embedding.
///
/// @param model with the adapters' scales in its norms; they are live, so a trainer's changes show at once
/// @param table the adapter of the embedding, or null
record TunedParts(DecoderModel model, @Nullable TokenTable table) {
    /// The parts of a run.
    static TunedParts of(DecoderModel model, Map<String, Adapter> adapters) {
        DecoderModel tuned = model;
        if (adapters.values().stream().anyMatch(NormScale.class::isInstance)) {
            tuned =
                    model.withNorms(
                            (name, frozen) -> adapters.get(name) instanceof NormScale norm ? norm.scale() : frozen);
        }
        TokenTable table = adapters.get(DecoderModel.EMBEDDING) instanceof TokenTable found ? found : null;
        return new TunedParts(tuned, table);
    }

    /// Overwrites x with the embeddings of the tokens.
    void embed(Compute compute, int[] ids, Matrix x) {
        if (table == null) {
            Embedding.gather(compute, model.embedding(), ids, x);
        } else {
            table.gather(compute, model.embedding(), ids, x);
        }
    }

    /// Backward of [#embed].
    void embedBackward(Compute compute, int[] ids, Matrix gradient, AdapterGradients gradients) {
        if (table != null) {
            table.backwardGather(compute, ids, gradient, gradients.of(DecoderModel.EMBEDDING));
        }
    }

    /// The adapter of the output head: its own, or the tokens that it shares with a tied embedding.
    static Map<String, Adapter> ofHead(DecoderModel model, Map<String, Adapter> adapters) {
        Adapter own = adapters.get(DecoderModel.HEAD);
        if (own == null && model.isTied() && adapters.get(DecoderModel.EMBEDDING) instanceof TrainableTokens tokens) {
            return Map.of(DecoderModel.HEAD, tokens);
        }
        return own == null ? Map.of() : Map.of(DecoderModel.HEAD, own);
    }

    /// The gradients of the head's adapter, which may be those of the embedding.
    static Map<String, List<Matrix>> gradientsOfHead(
            Map<String, Adapter> adapters, Map<String, List<Matrix>> gradients) {
        boolean own = adapters.containsKey(DecoderModel.HEAD);
        List<Matrix> matrices = gradients.get(own ? DecoderModel.HEAD : DecoderModel.EMBEDDING);
        return matrices == null ? Map.of() : Map.of(DecoderModel.HEAD, matrices);
    }
}
