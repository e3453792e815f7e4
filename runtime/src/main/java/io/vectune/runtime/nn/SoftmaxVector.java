package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// [Softmax] and [CrossEntropy] in vectors. Exponentials are summed in f32 lanes over blocks, the blocks in double.
final class SoftmaxVector implements SoftmaxKernel {
    /// Elements whose exponentials are summed in f32: at most BLOCK / (2 * 4) = 256 additions a lane.
    private static final int BLOCK = 2048;

    @Override
    public void softmax(Matrix x, int row) {
        MemorySegment xs = x.segment();
        long at = x.rowOffset(row);
        float max = max(xs, at, x.columns());
        double sum = exponentials(xs, at, x.columns(), max, true);
        scale(xs, at, x.columns(), (float) (1 / sum));
    }

    @Override
    public float crossEntropy(Matrix logits, int row, int label, float lossScale, boolean withGradient) {
        MemorySegment segment = logits.segment();
        long at = logits.rowOffset(row);
        long labelAt = at + 4L * label;
        int n = logits.columns();
        float max = max(segment, at, n);
        float labelLogit = segment.get(FLOAT, labelAt);
        double sum = exponentials(segment, at, n, max, withGradient);
        if (withGradient) {
            scale(segment, at, n, (float) (lossScale / sum));
            segment.set(FLOAT, labelAt, segment.get(FLOAT, labelAt) - lossScale);
        }
        return (float) (Math.log(sum) + max - labelLogit);
    }

    private static float max(MemorySegment xs, long at, int n) {
        FloatVector max0 = Lanes.broadcast(Float.NEGATIVE_INFINITY);
        FloatVector max1 = max0;
        int i = 0;
        for (; i <= n - 2 * Lanes.LENGTH; i += 2 * Lanes.LENGTH) {
            max0 = max0.max(Lanes.load(xs, at + 4L * i));
            max1 = max1.max(Lanes.load(xs, at + 4L * i + Lanes.BYTES));
        }
        float max = Lanes.max(max0.max(max1));
        for (; i < n; i++) {
            max = Math.max(max, xs.get(FLOAT, at + 4L * i));
        }
        return max;
    }

    /// The sum of exp(x - max); with `store` they replace x.
    private static double exponentials(MemorySegment xs, long at, int n, float max, boolean store) {
        double sum = 0;
        for (int from = 0; from < n; from += BLOCK) {
            sum += block(xs, at + 4L * from, Math.min(BLOCK, n - from), max, store);
        }
        return sum;
    }

    private static float block(MemorySegment xs, long at, int n, float max, boolean store) {
        FloatVector acc0 = Lanes.zero();
        FloatVector acc1 = Lanes.zero();
        int i = 0;
        for (; i <= n - 2 * Lanes.LENGTH; i += 2 * Lanes.LENGTH) {
            FloatVector e0 = ExpVector.expNegative(Lanes.load(xs, at + 4L * i).sub(max));
            FloatVector e1 = ExpVector.expNegative(Lanes.load(xs, at + 4L * i + Lanes.BYTES).sub(max));
            acc0 = acc0.add(e0);
            acc1 = acc1.add(e1);
            if (store) {
                Lanes.store(e0, xs, at + 4L * i);
                Lanes.store(e1, xs, at + 4L * i + Lanes.BYTES);
            }
        }
        float sum = Lanes.sum(acc0.add(acc1));
        for (; i < n; i++) {
            float e = Exp.exp(xs.get(FLOAT, at + 4L * i) - max);
            sum += e;
            if (store) {
                xs.set(FLOAT, at + 4L * i, e);
            }
        }
        return sum;
    }

    private static void scale(MemorySegment xs, long at, int n, float factor) {
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            Lanes.store(Lanes.load(xs, at + 4L * i).mul(factor), xs, at + 4L * i);
        }
        for (; i < n; i++) {
            xs.set(FLOAT, at + 4L * i, xs.get(FLOAT, at + 4L * i) * factor);
        }
    }
}
