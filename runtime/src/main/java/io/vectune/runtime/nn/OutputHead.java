package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;

/// The last linear map of a decoder, from hidden states to logits, as [CrossEntropy] uses it on slices of tokens.
public interface OutputHead {
    /// Features of a hidden state.
    int hiddenSize();

    /// Number of logits.
    int vocabSize();

    /// Overwrites logits (tokens, vocabSize) from hidden (tokens, hiddenSize).
    void forward(Compute compute, Matrix hidden, Matrix logits);

    /// Overwrites gradHidden (tokens, hiddenSize) for the slice that was last given to [#forward]; adds to gradients of
    /// parameters of its own, if it has any.
    void backward(Compute compute, Matrix hidden, Matrix gradLogits, Matrix gradHidden);

    /// A frozen head.
    ///
    /// @param weight (vocabSize, hiddenSize)
    static OutputHead of(Weight weight) {
        return new OutputHead() {
            @Override
            public int hiddenSize() {
                return weight.inFeatures();
            }

            @Override
            public int vocabSize() {
                return weight.outFeatures();
            }

            @Override
            public void forward(Compute compute, Matrix hidden, Matrix logits) {
                MatMul.multiply(compute, weight, hidden, logits, false);
            }

            @Override
            public void backward(Compute compute, Matrix hidden, Matrix gradLogits, Matrix gradHidden) {
                MatMul.multiplyTransposed(compute, weight, gradLogits, gradHidden, false);
            }
        };
    }
}
