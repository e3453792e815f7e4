package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.OutputHead;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The output head with its adapter, if it has one.
final class AdaptedHead {
    private final Map<String, Adapter> adapters;
    private final Projection projection;
    private final @Nullable Matrix saved;

    /// @param tokens the most tokens of a batch, or 0 where there is no backward
    AdaptedHead(DecoderModel model, Map<String, Adapter> adapters, Arena arena, int tokens) {
        this.adapters = adapters;
        this.projection = new Projection(TunedParts.ofHead(model, adapters), model.head());
        long floats = tokens == 0 ? 0 : projection.savedFloats(tokens);
        this.saved = floats == 0 ? null : Matrix.allocate(arena, 1, Math.toIntExact(floats));
    }

    /// The head for one pass over a batch.
    ///
    /// @throws IllegalArgumentException if an adapted head is asked to treat rows differently: it sees labelled rows
    ///   only
    OutputHead with(CallSeed seed, Map<String, List<Matrix>> gradients) {
        requireUniform(seed);
        return new Pass(seed, TunedParts.gradientsOfHead(adapters, gradients));
    }

    /// Overwrites the logits.
    ///
    /// @param seed whose rows, if they differ, are those of `hidden`
    void forward(Compute compute, Matrix hidden, Matrix logits, CallSeed seed) {
        projection.forward(compute, hidden, logits, null, seed);
    }

    private void requireUniform(CallSeed seed) {
        if (projection.isAdapted() && seed.hasRowOptions()) {
            throw new IllegalArgumentException(
                    DecoderModel.HEAD
                            + ": an adapter of the output head cannot differ by row; leave it out of the mixed sets");
        }
    }

    private final class Pass implements OutputHead {
        private final CallSeed seed;
        private final Map<String, List<Matrix>> gradients;
        private int slice;

        private Pass(CallSeed seed, Map<String, List<Matrix>> gradients) {
            this.seed = seed;
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
            projection.forward(compute, hidden, logits, saved, seed.slice(slice));
        }

        @Override
        public void backward(Compute compute, Matrix hidden, Matrix gradLogits, Matrix gradHidden) {
            projection.backward(compute, hidden, saved, seed.slice(slice), gradLogits, gradHidden, gradients);
        }
    }
}
