package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// Softmax cross-entropy from hidden states, the output head included, in slices of tokens: the (tokens, vocabSize)
/// logits are never all alive.
///
///     loss_t      = log(sum_c exp(logits_tc)) - logits_{t, label_t}
///     gradLogits  = lossScale (softmax(logits) - onehot(label))
///
/// Only labelled tokens cost anything: the others never reach the head.
public final class CrossEntropy {
    /// The label of a token without one.
    public static final int IGNORED = -100;

    private static final SoftmaxKernel KERNEL = SoftmaxKernel.active();

    /// Logits of one slice: 64 MiB.
    private static final int SLICE_ELEMENTS = 1 << 24;

    private static final int MIN_SLICE = 32;
    private static final int MAX_SLICE = 512;

    private CrossEntropy() {}

    /// The summed loss of the labelled tokens, without gradient.
    ///
    /// @param hidden (tokens, hiddenSize), after the final norm
    /// @param labels label of each row (already shifted), or [#IGNORED]
    public static double loss(Compute compute, OutputHead head, Matrix hidden, int[] labels) {
        return lossAndGradient(compute, head, hidden, labels, 0, null);
    }

    /// The summed (not averaged) loss of the labelled tokens, and the gradient of `lossScale` times that sum.
    ///
    /// @param hidden (tokens, hiddenSize), after the final norm
    /// @param labels label of each row (already shifted), or [#IGNORED]
    /// @param lossScale 1 / labelled tokens of the whole batch
    /// @param gradHidden (tokens, hiddenSize), overwritten, zero in rows without label; null for no gradient
    /// @throws IllegalArgumentException for a label outside the vocabulary
    public static double lossAndGradient(
            Compute compute,
            OutputHead head,
            Matrix hidden,
            int[] labels,
            double lossScale,
            @Nullable Matrix gradHidden) {
        int tokens = hidden.rows();
        Shapes.require("hidden", hidden, tokens, head.hiddenSize());
        if (gradHidden != null) {
            Shapes.requireSame("gradHidden", gradHidden, hidden);
        }
        int labelled = countLabelled(labels, tokens, head.vocabSize());
        int slice = sliceRows(head.vocabSize());
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int capacity = Math.min(slice, labelled);
        Matrix inputs = workspace.matrix(capacity, head.hiddenSize());
        Matrix logits = workspace.matrix(capacity, head.vocabSize());
        Matrix losses = workspace.matrix(capacity, 1);
        Matrix gradients = workspace.matrix(gradHidden == null ? 0 : capacity, head.hiddenSize());
        int[] sliceLabels = new int[capacity];
        double sum = 0;
        int first = 0;
        while (first < tokens) {
            int count = 0;
            int next = first;
            for (; next < tokens && (count < capacity || labels[next] == IGNORED); next++) {
                if (labels[next] != IGNORED) {
                    copyRow(hidden, next, inputs, count);
                    sliceLabels[count++] = labels[next];
                }
            }
            if (count > 0) {
                sum +=
                        slice(
                                compute,
                                head,
                                inputs.rows(0, count),
                                logits.rows(0, count),
                                sliceLabels,
                                (float) lossScale,
                                losses,
                                gradHidden == null ? null : gradients.rows(0, count));
            }
            if (gradHidden != null) {
                scatter(gradients, labels, first, next, gradHidden);
            }
            first = next;
        }
        workspace.release(mark);
        return sum;
    }

    /// The most tokens whose logits are alive at the same time.
    public static int sliceRows(int vocabSize) {
        return Math.clamp(SLICE_ELEMENTS / vocabSize, MIN_SLICE, MAX_SLICE);
    }

    private static double slice(
            Compute compute,
            OutputHead head,
            Matrix hidden,
            Matrix logits,
            int[] labels,
            float lossScale,
            Matrix losses,
            @Nullable Matrix gradHidden) {
        head.forward(compute, hidden, logits);
        boolean withGradient = gradHidden != null;
        compute.team()
                .run(
                        logits.rows(),
                        1,
                        (from, to, worker) -> {
                            float[] scratch = compute.scratch(worker, 0, SoftmaxKernel.SCRATCH);
                            for (int row = from; row < to; row++) {
                                float loss =
                                        KERNEL.crossEntropy(logits, row, labels[row], lossScale, withGradient, scratch);
                                losses.segment().set(Tensor.FLOAT, losses.rowOffset(row), loss);
                            }
                        });
        if (gradHidden != null) {
            head.backward(compute, hidden, logits, gradHidden);
        }
        double sum = 0;
        for (int row = 0; row < logits.rows(); row++) {
            sum += losses.segment().get(Tensor.FLOAT, losses.rowOffset(row));
        }
        return sum;
    }

    private static void scatter(Matrix gradients, int[] labels, int from, int to, Matrix gradHidden) {
        int count = 0;
        for (int token = from; token < to; token++) {
            if (labels[token] == IGNORED) {
                gradHidden.segment().asSlice(gradHidden.rowOffset(token), 4L * gradHidden.columns()).fill((byte) 0);
            } else {
                copyRow(gradients, count++, gradHidden, token);
            }
        }
    }

    private static void copyRow(Matrix source, int sourceRow, Matrix target, int targetRow) {
        MemorySegment.copy(
                source.segment(),
                source.rowOffset(sourceRow),
                target.segment(),
                target.rowOffset(targetRow),
                4L * source.columns());
    }

    private static int countLabelled(int[] labels, int tokens, int vocabSize) {
        if (labels.length < tokens) {
            throw new IllegalArgumentException("labels: expected at least " + tokens + ", found " + labels.length);
        }
        int labelled = 0;
        for (int token = 0; token < tokens; token++) {
            if (labels[token] != IGNORED) {
                if (labels[token] < 0 || labels[token] >= vocabSize) {
                    throw new IllegalArgumentException(
                            "labels["
                                    + token
                                    + "]: expected 0 to "
                                    + (vocabSize - 1)
                                    + " or "
                                    + IGNORED
                                    + ", found "
                                    + labels[token]);
                }
                labelled++;
            }
        }
        return labelled;
    }
}
