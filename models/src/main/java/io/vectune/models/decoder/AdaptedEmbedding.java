package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.MixedEmbedding;
import io.vectune.adapters.TokenTable;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.Embedding;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The embedding with the adapter of a run, or in a mixed batch with one a run of rows.
///
/// @param table the frozen rows (vocabSize, hiddenSize)
/// @param adapter a [TokenTable], a [MixedEmbedding], or null
record AdaptedEmbedding(Weight table, @Nullable Adapter adapter) {
    /// The embedding of a model.
    static AdaptedEmbedding of(DecoderModel model, Map<String, Adapter> adapters) {
        return new AdaptedEmbedding(model.embedding(), adapters.get(DecoderModel.EMBEDDING));
    }

    /// Whether any row has another table, so that the gradient has to come down to it.
    boolean isAdapted() {
        return adapter != null;
    }

    /// Overwrites x with the embeddings of the tokens.
    ///
    /// @param seed whose rows, if they differ, are the tokens
    void gather(Compute compute, int[] ids, CallSeed seed, Matrix x) {
        switch (adapter) {
            case TokenTable own -> own.gather(compute, table, ids, x);
            case MixedEmbedding mix -> mix.gather(compute, table, ids, seed.options().groups(), x);
            case null, default -> Embedding.gather(compute, table, ids, x);
        }
    }

    /// Backward of [#gather].
    void backward(Compute compute, int[] ids, CallSeed seed, Matrix gradient, AdapterGradients gradients) {
        switch (adapter) {
            case TokenTable own -> own.backwardGather(compute, ids, gradient, gradients.of(DecoderModel.EMBEDDING));
            case MixedEmbedding mix ->
                    mix.backwardGather(
                            compute, ids, seed.options().groups(), gradient, gradients.of(DecoderModel.EMBEDDING));
            case null, default -> {}
        }
    }
}
