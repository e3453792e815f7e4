package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.LENGTH;
import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.nn.TileProduct.TILE;
import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;

/// Attention of one new token: inner products with all keys, softmax, weighted sum of the values.
///
/// Keys and values are read where they lie, in blocks that stay in the L1 cache for all heads that share them; what
/// binds is reading them once.
final class AttentionStepVector {
    /// Keys of a block: 64 of 64 features are 16 KiB.
    private static final int BLOCK = 64;

    private static final VectorShuffle<Float> BY_8 = VectorShuffle.fromOp(SPECIES, lane -> (lane + 8) % LENGTH);
    private static final VectorShuffle<Float> BY_4 = VectorShuffle.fromOp(SPECIES, lane -> (lane + 4) % LENGTH);
    private static final VectorShuffle<Float> BY_2 = VectorShuffle.fromOp(SPECIES, lane -> (lane + 2) % LENGTH);
    private static final VectorShuffle<Float> BY_1 = VectorShuffle.fromOp(SPECIES, lane -> (lane + 1) % LENGTH);

    private AttentionStepVector() {}

    /// The heads `[headFrom, headTo)`, which share a key and value head, over the first `count` keys.
    static void attend(
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
        int dim = shape.headDim();
        int width = AttentionTiles.length(dim, 1);
        int heads = headTo - headFrom;
        int stride = AttentionTiles.roundUp(count, LENGTH);
        int keyColumn = headFrom / shape.group() * dim;
        float[] queries = compute.scratch(worker, 0, heads * width);
        float[] scores = compute.scratch(worker, 1, heads * stride);
        float[] sums = compute.scratch(worker, 2, heads * width);
        float[] shift = compute.scratch(worker, 3, LENGTH);
        float[] lanes = compute.scratch(worker, 4, LENGTH);
        for (int head = 0; head < heads; head++) {
            int column = (headFrom + head) * dim;
            AttentionTiles.pack(q, 0, column, 1, dim, shape.scale(), queries, head * width, TILE);
        }
        for (int from = 0; from < count; from += BLOCK) {
            int keys = Math.min(BLOCK, count - from);
            long at = k.rowOffset(from) + 4L * keyColumn;
            for (int head = 0; head < heads; head++) {
                scores(k.segment(), at, 4 * k.stride(), keys, queries, head * width, dim, scores, head * stride + from);
            }
        }
        Arrays.fill(sums, 0, heads * width, 0);
        for (int head = 0; head < heads; head++) {
            float total = weights(scores, head * stride, count, shift, lanes);
            // Kept where the query was: the factor of this head's sum.
            queries[head * width] = 1 / total;
        }
        for (int from = 0; from < count; from += BLOCK) {
            int keys = Math.min(BLOCK, count - from);
            long at = v.rowOffset(from) + 4L * keyColumn;
            for (int head = 0; head < heads; head++) {
                gather(v.segment(), at, 4 * v.stride(), keys, scores, head * stride + from, sums, head * width, dim);
            }
        }
        for (int head = 0; head < heads; head++) {
            AttentionTiles.unpack(
                    sums, head * width, TILE, queries[head * width], out, 0, (headFrom + head) * dim, dim);
        }
    }

    /// scores[key] = query . k[key]
    private static void scores(
            MemorySegment ks,
            long at,
            long rowBytes,
            int keys,
            float[] queries,
            int queryAt,
            int dim,
            float[] scores,
            int scoresAt) {
        for (int key = 0; key < keys; key++) {
            long keyAt = at + key * rowBytes;
            FloatVector sum = FloatVector.zero(SPECIES);
            int d = 0;
            for (; d <= dim - LENGTH; d += LENGTH) {
                FloatVector query = FloatVector.fromArray(SPECIES, queries, queryAt + d);
                sum = query.fma(FloatVector.fromMemorySegment(SPECIES, ks, keyAt + 4L * d, ORDER), sum);
            }
            sum = Lanes.ONE.mul(sum);
            if (LENGTH == 16) {
                sum = sum.add(sum.rearrange(BY_8));
            }
            if (LENGTH >= 8) {
                sum = sum.add(sum.rearrange(BY_4));
            }
            sum = sum.add(sum.rearrange(BY_2));
            float score = sum.add(sum.rearrange(BY_1)).lane(0);
            for (; d < dim; d++) {
                score = Math.fma(queries[queryAt + d], ks.get(FLOAT, keyAt + 4L * d), score);
            }
            scores[scoresAt + key] = score;
        }
    }

    /// Replaces scores by exp(score - maximum) and returns their sum.
    private static float weights(float[] scores, int at, int count, float[] shift, float[] lanes) {
        int vectors = (count + LENGTH - 1) / LENGTH;
        Arrays.fill(scores, at + count, at + vectors * LENGTH, Float.NEGATIVE_INFINITY);
        FloatVector maxima = FloatVector.broadcast(SPECIES, Float.NEGATIVE_INFINITY);
        for (int i = 0; i < vectors * LENGTH; i += LENGTH) {
            FloatVector score = FloatVector.fromArray(SPECIES, scores, at + i);
            maxima = score.blend(maxima, score.compare(VectorOperators.GT, maxima).not());
        }
        Lanes.ONE.mul(maxima).intoArray(lanes, 0);
        float maximum = Float.NEGATIVE_INFINITY;
        for (int lane = 0; lane < LENGTH; lane++) {
            maximum = Math.max(maximum, lanes[lane]);
        }
        Arrays.fill(shift, 0, LENGTH, maximum);
        ExpVector.exponentials(scores, at, LENGTH, vectors, shift, 0);
        FloatVector sums = FloatVector.zero(SPECIES);
        for (int i = 0; i < vectors * LENGTH; i += LENGTH) {
            sums = FloatVector.fromArray(SPECIES, scores, at + i).add(sums);
        }
        Lanes.ONE.mul(sums).intoArray(lanes, 0);
        return Lanes.sum(lanes);
    }

    /// sums += weights v, in blocks of four vectors of features, even and odd keys apart.
    private static void gather(
            MemorySegment vs,
            long at,
            long rowBytes,
            int keys,
            float[] weights,
            int weightsAt,
            float[] sums,
            int sumsAt,
            int dim) {
        int d = 0;
        for (; d <= dim - 4 * LENGTH; d += 4 * LENGTH) {
            gatherFour(vs, at + 4L * d, rowBytes, keys, weights, weightsAt, sums, sumsAt + d);
        }
        for (; d <= dim - LENGTH; d += LENGTH) {
            FloatVector sum = FloatVector.fromArray(SPECIES, sums, sumsAt + d);
            for (int key = 0; key < keys; key++) {
                FloatVector weight = FloatVector.broadcast(SPECIES, weights[weightsAt + key]);
                sum = weight.fma(FloatVector.fromMemorySegment(SPECIES, vs, at + key * rowBytes + 4L * d, ORDER), sum);
            }
            Lanes.ONE.mul(sum).intoArray(sums, sumsAt + d);
        }
        for (; d < dim; d++) {
            for (int key = 0; key < keys; key++) {
                float value = vs.get(FLOAT, at + key * rowBytes + 4L * d);
                sums[sumsAt + d] = Math.fma(weights[weightsAt + key], value, sums[sumsAt + d]);
            }
        }
    }

    private static void gatherFour(
            MemorySegment vs,
            long at,
            long rowBytes,
            int keys,
            float[] weights,
            int weightsAt,
            float[] sums,
            int sumsAt) {
        FloatVector sum0 = FloatVector.fromArray(SPECIES, sums, sumsAt);
        FloatVector sum1 = FloatVector.fromArray(SPECIES, sums, sumsAt + LENGTH);
        FloatVector sum2 = FloatVector.fromArray(SPECIES, sums, sumsAt + 2 * LENGTH);
        FloatVector sum3 = FloatVector.fromArray(SPECIES, sums, sumsAt + 3 * LENGTH);
        FloatVector odd0 = FloatVector.zero(SPECIES);
        FloatVector odd1 = FloatVector.zero(SPECIES);
        FloatVector odd2 = FloatVector.zero(SPECIES);
        FloatVector odd3 = FloatVector.zero(SPECIES);
        int key = 0;
        for (; key < keys - 1; key += 2) {
            FloatVector even = FloatVector.broadcast(SPECIES, weights[weightsAt + key]);
            long row = at + key * rowBytes;
            sum0 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row, ORDER), sum0);
            sum1 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + Lanes.BYTES, ORDER), sum1);
            sum2 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + 2 * Lanes.BYTES, ORDER), sum2);
            sum3 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + 3 * Lanes.BYTES, ORDER), sum3);
            FloatVector odd = FloatVector.broadcast(SPECIES, weights[weightsAt + key + 1]);
            row += rowBytes;
            odd0 = odd.fma(FloatVector.fromMemorySegment(SPECIES, vs, row, ORDER), odd0);
            odd1 = odd.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + Lanes.BYTES, ORDER), odd1);
            odd2 = odd.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + 2 * Lanes.BYTES, ORDER), odd2);
            odd3 = odd.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + 3 * Lanes.BYTES, ORDER), odd3);
        }
        if (key < keys) {
            FloatVector even = FloatVector.broadcast(SPECIES, weights[weightsAt + key]);
            long row = at + key * rowBytes;
            sum0 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row, ORDER), sum0);
            sum1 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + Lanes.BYTES, ORDER), sum1);
            sum2 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + 2 * Lanes.BYTES, ORDER), sum2);
            sum3 = even.fma(FloatVector.fromMemorySegment(SPECIES, vs, row + 3 * Lanes.BYTES, ORDER), sum3);
        }
        Lanes.ONE.mul(sum0).add(odd0).intoArray(sums, sumsAt);
        Lanes.ONE.mul(sum1).add(odd1).intoArray(sums, sumsAt + LENGTH);
        Lanes.ONE.mul(sum2).add(odd2).intoArray(sums, sumsAt + 2 * LENGTH);
        Lanes.ONE.mul(sum3).add(odd3).intoArray(sums, sumsAt + 3 * LENGTH);
    }
}
