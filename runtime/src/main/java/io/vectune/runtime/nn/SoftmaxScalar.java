package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;

/// [Softmax] and [CrossEntropy] in formula order; sums of exponentials in double.
final class SoftmaxScalar implements SoftmaxKernel {
    @Override
    public void softmax(Matrix x, int row, float[] scratch) {
        float max = max(x, row);
        float scale = (float) (1 / sumOfExp(x, row, max));
        for (int i = 0; i < x.columns(); i++) {
            long at = x.rowOffset(row) + 4L * i;
            x.segment().set(FLOAT, at, Exp.exp(x.segment().get(FLOAT, at) - max) * scale);
        }
    }

    @Override
    public float crossEntropy(
            Matrix logits, int row, int label, float lossScale, boolean withGradient, float[] scratch) {
        MemorySegment segment = logits.segment();
        long labelAt = logits.rowOffset(row) + 4L * label;
        float max = max(logits, row);
        double sum = sumOfExp(logits, row, max);
        float loss = (float) (Math.log(sum) + max - segment.get(FLOAT, labelAt));
        if (withGradient) {
            float scale = (float) (lossScale / sum);
            for (int i = 0; i < logits.columns(); i++) {
                long at = logits.rowOffset(row) + 4L * i;
                segment.set(FLOAT, at, Exp.exp(segment.get(FLOAT, at) - max) * scale);
            }
            segment.set(FLOAT, labelAt, segment.get(FLOAT, labelAt) - lossScale);
        }
        return loss;
    }

    private static float max(Matrix x, int row) {
        float max = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < x.columns(); i++) {
            max = Math.max(max, x.segment().get(FLOAT, x.rowOffset(row) + 4L * i));
        }
        return max;
    }

    private static double sumOfExp(Matrix x, int row, float max) {
        double sum = 0;
        for (int i = 0; i < x.columns(); i++) {
            sum += Exp.exp(x.segment().get(FLOAT, x.rowOffset(row) + 4L * i) - max);
        }
        return sum;
    }
}
