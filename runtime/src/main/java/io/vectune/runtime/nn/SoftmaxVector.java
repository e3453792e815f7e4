package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// [Softmax] and [CrossEntropy] in vectors, in blocks that are copied to scratch. The exponentials of a block are
/// summed in f32 lanes, at most BLOCK / 4 = 256 of them in each; the blocks in double.
final class SoftmaxVector implements SoftmaxKernel {
    private static final int BLOCK = 1024;

    /// One vector of the maximum behind the block.
    private static final int SHIFT = BLOCK;

    /// One vector of sums behind that.
    private static final int SUMS = SHIFT + 16;

    @Override
    public void softmax(Matrix x, int row, float[] scratch) {
        MemorySegment xs = x.segment();
        long at = x.rowOffset(row);
        float max = max(xs, at, x.columns(), scratch);
        double sum = exponentials(xs, at, x.columns(), max, true, scratch);
        scale(xs, at, x.columns(), (float) (1 / sum));
    }

    @Override
    public float crossEntropy(
            Matrix logits, int row, int label, float lossScale, boolean withGradient, float[] scratch) {
        MemorySegment segment = logits.segment();
        long at = logits.rowOffset(row);
        long labelAt = at + 4L * label;
        int n = logits.columns();
        float max = max(segment, at, n, scratch);
        float labelLogit = segment.get(FLOAT, labelAt);
        double sum = exponentials(segment, at, n, max, withGradient, scratch);
        if (withGradient) {
            scale(segment, at, n, (float) (lossScale / sum));
            segment.set(FLOAT, labelAt, segment.get(FLOAT, labelAt) - lossScale);
        }
        return (float) (Math.log(sum) + max - labelLogit);
    }

    /// The largest element, by comparisons: vector max pays several instructions for NaN and the sign of zero.
    private static float max(MemorySegment xs, long at, int n, float[] scratch) {
        FloatVector max0 = FloatVector.broadcast(SPECIES, Float.NEGATIVE_INFINITY);
        FloatVector max1 = max0;
        int i = 0;
        for (; i <= n - 2 * Lanes.LENGTH; i += 2 * Lanes.LENGTH) {
            FloatVector x0 = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER);
            FloatVector x1 = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i + Lanes.BYTES, ORDER);
            max0 = max0.blend(x0, x0.compare(VectorOperators.GT, max0));
            max1 = max1.blend(x1, x1.compare(VectorOperators.GT, max1));
        }
        max0.blend(max1, max1.compare(VectorOperators.GT, max0)).intoArray(scratch, SUMS);
        float max = Float.NEGATIVE_INFINITY;
        for (int lane = 0; lane < Lanes.LENGTH; lane++) {
            max = Math.max(max, scratch[SUMS + lane]);
        }
        for (; i < n; i++) {
            max = Math.max(max, xs.get(FLOAT, at + 4L * i));
        }
        return max;
    }

    /// The sum of exp(x - max); with `store` they replace x.
    private static double exponentials(MemorySegment xs, long at, int n, float max, boolean store, float[] scratch) {
        Arrays.fill(scratch, SHIFT, SHIFT + Lanes.LENGTH, max);
        double sum = 0;
        for (int from = 0; from < n; from += BLOCK) {
            int count = Math.min(BLOCK, n - from);
            int vectors = (count + Lanes.LENGTH - 1) / Lanes.LENGTH;
            MemorySegment.copy(xs, FLOAT, at + 4L * from, scratch, 0, count);
            Arrays.fill(scratch, count, vectors * Lanes.LENGTH, Float.NEGATIVE_INFINITY);
            ExpVector.exponentials(scratch, 0, Lanes.LENGTH, vectors, scratch, SHIFT);
            sum += sum(scratch, vectors * Lanes.LENGTH);
            if (store) {
                MemorySegment.copy(scratch, 0, xs, FLOAT, at + 4L * from, count);
            }
        }
        return sum;
    }

    private static double sum(float[] scratch, int n) {
        FloatVector acc0 = FloatVector.zero(SPECIES);
        FloatVector acc1 = FloatVector.zero(SPECIES);
        int i = 0;
        for (; i <= n - 2 * Lanes.LENGTH; i += 2 * Lanes.LENGTH) {
            acc0 = acc0.add(FloatVector.fromArray(SPECIES, scratch, i));
            acc1 = acc1.add(FloatVector.fromArray(SPECIES, scratch, i + Lanes.LENGTH));
        }
        for (; i < n; i += Lanes.LENGTH) {
            acc0 = acc0.add(FloatVector.fromArray(SPECIES, scratch, i));
        }
        acc0.add(acc1).intoArray(scratch, SUMS);
        double sum = 0;
        for (int lane = 0; lane < Lanes.LENGTH; lane++) {
            sum += scratch[SUMS + lane];
        }
        return sum;
    }

    private static void scale(MemorySegment xs, long at, int n, float factor) {
        int i = 0;
        for (; i <= n - Lanes.LENGTH; i += Lanes.LENGTH) {
            FloatVector x = FloatVector.fromMemorySegment(SPECIES, xs, at + 4L * i, ORDER);
            x.mul(factor).intoMemorySegment(xs, at + 4L * i, ORDER);
        }
        for (; i < n; i++) {
            xs.set(FLOAT, at + 4L * i, xs.get(FLOAT, at + 4L * i) * factor);
        }
    }
}
