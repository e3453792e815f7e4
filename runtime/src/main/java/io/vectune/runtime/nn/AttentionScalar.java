package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// [Attention] in formula order, one row and head at a time.
final class AttentionScalar implements AttentionKernel {
    @Override
    public void forward(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            int queryRow,
            Matrix k,
            Matrix v,
            int keyRow,
            int keyCount,
            int keysBefore,
            Matrix out,
            @Nullable Matrix logSumExp,
            int keyValueHead,
            int rowFrom,
            int rowTo) {
        int firstHead = keyValueHead * shape.group();
        for (int head = firstHead; head < firstHead + shape.group(); head++) {
            for (int row = rowFrom; row < rowTo; row++) {
                int visible = Math.min(keyCount, keysBefore + row + 1);
                float log = attendRow(compute, worker, shape, q, queryRow + row, k, v, keyRow, visible, out, head);
                if (logSumExp != null) {
                    logSumExp.segment().set(FLOAT, logSumExp.rowOffset(queryRow + row) + 4L * head, log);
                }
            }
        }
    }

    @Override
    public void attend(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            Matrix k,
            Matrix v,
            int count,
            Matrix out,
            int headFrom,
            int headTo) {
        for (int head = headFrom; head < headTo; head++) {
            attendRow(compute, worker, shape, q, 0, k, v, 0, count, out, head);
        }
    }

    /// One row and head over the keys `[keyRow, keyRow + count)`; returns the logarithm of its sum of exponentials.
    private static float attendRow(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            int row,
            Matrix k,
            Matrix v,
            int keyRow,
            int count,
            Matrix out,
            int head) {
        int dim = shape.headDim();
        float[] scores = compute.scratch(worker, 0, count);
        float[] sum = compute.scratch(worker, 1, dim);
        long keyColumn = 4L * (head / shape.group()) * dim;
        long qAt = q.rowOffset(row) + 4L * head * dim;
        float max = Float.NEGATIVE_INFINITY;
        for (int j = 0; j < count; j++) {
            long kAt = k.rowOffset(keyRow + j) + keyColumn;
            scores[j] = dot(q.segment(), qAt, k.segment(), kAt, dim) * shape.scale();
            max = Math.max(max, scores[j]);
        }
        float total = 0;
        Arrays.fill(sum, 0, dim, 0);
        for (int j = 0; j < count; j++) {
            float p = Exp.exp(scores[j] - max);
            total += p;
            long vAt = v.rowOffset(keyRow + j) + keyColumn;
            for (int i = 0; i < dim; i++) {
                sum[i] = Math.fma(p, v.segment().get(FLOAT, vAt + 4L * i), sum[i]);
            }
        }
        float inverse = 1 / total;
        long outAt = out.rowOffset(row) + 4L * head * dim;
        for (int i = 0; i < dim; i++) {
            out.segment().set(FLOAT, outAt + 4L * i, sum[i] * inverse);
        }
        return max + (float) Math.log(total);
    }

    @Override
    public void rowProducts(
            AttentionShape shape, Matrix a, Matrix b, Matrix products, float[] lanes, int rowFrom, int rowTo) {
        int dim = shape.headDim();
        for (int row = rowFrom; row < rowTo; row++) {
            for (int head = 0; head < shape.heads(); head++) {
                long at = 4L * head * dim;
                float product = dot(a.segment(), a.rowOffset(row) + at, b.segment(), b.rowOffset(row) + at, dim);
                products.segment().set(FLOAT, products.rowOffset(row) + 4L * head, product);
            }
        }
    }

    @Override
    public void backward(
            Compute compute,
            int worker,
            AttentionShape shape,
            Matrix q,
            Matrix k,
            Matrix v,
            Matrix logSumExp,
            Matrix along,
            Matrix gradOut,
            int row,
            int sequenceLength,
            int keyValueHead,
            int keyFrom,
            int keyTo,
            Matrix gradQ,
            int gradQRow,
            Matrix gradK,
            Matrix gradV) {
        int dim = shape.headDim();
        long keyColumn = 4L * keyValueHead * dim;
        for (int j = keyFrom; j < keyTo; j++) {
            zero(gradK.segment(), gradK.rowOffset(row + j) + keyColumn, dim);
            zero(gradV.segment(), gradV.rowOffset(row + j) + keyColumn, dim);
        }
        int keysBefore = shape.keysBefore(sequenceLength);
        int firstHead = keyValueHead * shape.group();
        for (int head = firstHead; head < firstHead + shape.group(); head++) {
            long column = 4L * head * dim;
            for (int i = Math.max(0, keyFrom - keysBefore); i < sequenceLength; i++) {
                long qAt = q.rowOffset(row + i) + column;
                long gAt = gradOut.rowOffset(row + i) + column;
                long gradQAt = gradQ.rowOffset(gradQRow + i) + column;
                float lse = logSumExp.segment().get(FLOAT, logSumExp.rowOffset(row + i) + 4L * head);
                float mean = along.segment().get(FLOAT, along.rowOffset(row + i) + 4L * head);
                zero(gradQ.segment(), gradQAt, dim);
                for (int j = keyFrom; j < Math.min(keyTo, keysBefore + i + 1); j++) {
                    long kAt = k.rowOffset(row + j) + keyColumn;
                    long vAt = v.rowOffset(row + j) + keyColumn;
                    float p = Exp.exp(dot(q.segment(), qAt, k.segment(), kAt, dim) * shape.scale() - lse);
                    float gradP = dot(gradOut.segment(), gAt, v.segment(), vAt, dim);
                    float gradScore = p * (gradP - mean) * shape.scale();
                    add(p, gradOut.segment(), gAt, gradV.segment(), gradV.rowOffset(row + j) + keyColumn, dim);
                    add(gradScore, q.segment(), qAt, gradK.segment(), gradK.rowOffset(row + j) + keyColumn, dim);
                    add(gradScore, k.segment(), kAt, gradQ.segment(), gradQAt, dim);
                }
            }
        }
    }

    private static float dot(MemorySegment a, long aAt, MemorySegment b, long bAt, int count) {
        float sum = 0;
        for (int i = 0; i < count; i++) {
            sum = Math.fma(a.get(FLOAT, aAt + 4L * i), b.get(FLOAT, bAt + 4L * i), sum);
        }
        return sum;
    }

    private static void add(float alpha, MemorySegment x, long xAt, MemorySegment y, long yAt, int count) {
        for (int i = 0; i < count; i++) {
            y.set(FLOAT, yAt + 4L * i, Math.fma(alpha, x.get(FLOAT, xAt + 4L * i), y.get(FLOAT, yAt + 4L * i)));
        }
    }

    private static void zero(MemorySegment y, long yAt, int count) {
        for (int i = 0; i < count; i++) {
            y.set(FLOAT, yAt + 4L * i, 0);
        }
    }
}
