package io.vectune.models.decoder;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.OutputHead;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// An output head that remembers the most probable token of each row that goes through it, in their order: what a loss
/// over labelled tokens computes anyway tells how many of them are predicted.
final class MostProbable implements OutputHead {
    private final OutputHead head;
    private final int[] tokens;
    private int count;

    /// @param rows the most rows that will come
    MostProbable(OutputHead head, int rows) {
        this.head = head;
        this.tokens = new int[rows];
    }

    /// The token with the largest logit of a row, the first of equals.
    int token(int row) {
        return tokens[row];
    }

    @Override
    public int hiddenSize() {
        return head.hiddenSize();
    }

    @Override
    public int vocabSize() {
        return head.vocabSize();
    }

    @Override
    public void forward(Compute compute, Matrix hidden, Matrix logits) {
        head.forward(compute, hidden, logits);
        int first = count;
        compute.team()
                .run(
                        logits.rows(),
                        1,
                        (from, to, worker) -> {
                            for (int row = from; row < to; row++) {
                                tokens[first + row] = argmax(logits, row);
                            }
                        });
        count += logits.rows();
    }

    @Override
    public void backward(Compute compute, Matrix hidden, Matrix gradLogits, Matrix gradHidden) {
        head.backward(compute, hidden, gradLogits, gradHidden);
    }

    private static int argmax(Matrix logits, int row) {
        MemorySegment segment = logits.segment();
        long at = logits.rowOffset(row);
        int best = 0;
        float largest = segment.get(Tensor.FLOAT, at);
        for (int column = 1; column < logits.columns(); column++) {
            float value = segment.get(Tensor.FLOAT, at + 4L * column);
            if (value > largest) {
                largest = value;
                best = column;
            }
        }
        return best;
    }
}
