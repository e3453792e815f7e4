package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterMix;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.MixedAdapter;
import io.vectune.adapters.MixedEmbedding;
import io.vectune.adapters.kind.TrainableTokens;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.CrossEntropy;
import io.vectune.runtime.nn.OutputHead;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// The output head with its adapter, if it has one: its own, or the tokens that it shares with a tied embedding; in a
/// mixed batch one or the other a run of rows.
final class AdaptedHead {
    private final @Nullable AdapterMix ownMix;
    private final @Nullable AdapterMix embeddingMix;
    private final @Nullable Adapter own;
    private final Projection projection;
    private final @Nullable Matrix saved;

    /// @param tokens the most tokens of a slice of the cross-entropy, or 0 where there is no backward
    AdaptedHead(DecoderModel model, Map<String, Adapter> adapters, Arena arena, int tokens) {
        this.own = adapters.get(DecoderModel.HEAD);
        Adapter embedding = model.isTied() ? adapters.get(DecoderModel.EMBEDDING) : null;
        this.ownMix = own instanceof AdapterMix mix ? mix : null;
        this.embeddingMix = embedding instanceof MixedEmbedding mix ? mix : null;
        Adapter adapter = own;
        if (embeddingMix != null) {
            Linear head = model.head();
            LayerSite site = new LayerSite(DecoderModel.HEAD, head.weight(), head.bias(), LayerSite.Part.HEAD);
            adapter = new MixedAdapter(site, tiedMembers(embeddingMix));
        } else if (adapter == null && embedding instanceof TrainableTokens shared) {
            adapter = shared;
        }
        this.projection = new Projection(adapter == null ? Map.of() : Map.of(DecoderModel.HEAD, adapter), model.head());
        long floats = tokens == 0 ? 0 : projection.savedFloats(tokens);
        this.saved = floats == 0 ? null : Matrix.allocate(arena, 1, Math.toIntExact(floats));
    }

    private List<Optional<Adapter>> tiedMembers(AdapterMix embedding) {
        List<Optional<Adapter>> members = new ArrayList<>();
        for (int index = 0; index < embedding.members().size(); index++) {
            Optional<Adapter> ofHead = ownMember(index);
            members.add(
                    ofHead.isPresent()
                            ? ofHead
                            : embedding.members().get(index).filter(TrainableTokens.class::isInstance));
        }
        return members;
    }

    private Optional<Adapter> ownMember(int index) {
        return ownMix == null ? Optional.empty() : ownMix.members().get(index);
    }

    /// The gradients of the head's adapter, which may be those of the embedding.
    private List<Matrix> gradients(Map<String, List<Matrix>> byModule) {
        List<Matrix> ofHead = byModule.getOrDefault(DecoderModel.HEAD, List.of());
        List<Matrix> ofEmbedding = byModule.getOrDefault(DecoderModel.EMBEDDING, List.of());
        if (embeddingMix == null || byModule.isEmpty()) {
            return own == null ? ofEmbedding : ofHead;
        }
        List<Matrix> gradients = new ArrayList<>();
        for (int index = 0; index < embeddingMix.members().size(); index++) {
            if (ownMix != null && ownMember(index).isPresent()) {
                gradients.addAll(ownMix.gradientsOf(ofHead, index));
            } else if (embeddingMix.members().get(index).orElse(null) instanceof TrainableTokens) {
                gradients.addAll(embeddingMix.gradientsOf(ofEmbedding, index));
            }
        }
        return gradients;
    }

    /// The head for one pass over a batch: over its labelled rows, in their order.
    ///
    /// @param targets of all rows, [CrossEntropy#IGNORED] where there is none
    OutputHead with(CallSeed seed, Map<String, List<Matrix>> byModule, int[] targets) {
        int[] labelled =
                IntStream.range(0, targets.length).filter(row -> targets[row] != CrossEntropy.IGNORED).toArray();
        return new Pass(seed, labelled, Map.of(DecoderModel.HEAD, gradients(byModule)));
    }

    /// Overwrites the logits.
    ///
    /// @param seed whose rows, if they differ, are those of `hidden`
    void forward(Compute compute, Matrix hidden, Matrix logits, CallSeed seed) {
        projection.forward(compute, hidden, logits, null, seed);
    }

    private final class Pass implements OutputHead {
        private final CallSeed seed;
        private final int[] labelled;
        private final Map<String, List<Matrix>> gradients;
        private CallSeed ofSlice;
        private int slice;
        private int done;

        private Pass(CallSeed seed, int[] labelled, Map<String, List<Matrix>> gradients) {
            this.seed = seed;
            this.ofSlice = seed;
            this.labelled = labelled;
            this.gradients = gradients;
        }

        @Override
        public int hiddenSize() {
            return projection.inFeatures();
        }

        @Override
        public int vocabSize() {
            return projection.outFeatures();
        }

        @Override
        public void forward(Compute compute, Matrix hidden, Matrix logits) {
            slice++;
            int[] rows = Arrays.copyOfRange(labelled, done, done + hidden.rows());
            done += hidden.rows();
            ofSlice = seed.select(rows).slice(slice);
            projection.forward(compute, hidden, logits, saved, ofSlice);
        }

        @Override
        public void backward(Compute compute, Matrix hidden, Matrix gradLogits, Matrix gradHidden) {
            projection.backward(compute, hidden, saved, ofSlice, gradLogits, gradHidden, gradients);
        }
    }
}
