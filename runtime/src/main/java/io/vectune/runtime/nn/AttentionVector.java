package io.vectune.runtime.nn;

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
import org.jspecify.annotations.Nullable;

/// [Attention] in tiles of [TileProduct#TILE] keys by as many rows, held in scratch; forward with online softmax.
final class AttentionVector implements AttentionKernel {
    /// Floats of a panel of one tile's rows.
    private static final int PANEL = TILE * TILE;

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
        int dim = shape.headDim();
        int heads = shape.group();
        int rows = rowTo - rowFrom;
        int firstHead = keyValueHead * heads;
        int keyColumn = keyValueHead * dim;
        int visible = Math.min(keyCount, keysBefore + rowTo);
        int firstRow = queryRow + rowFrom;
        int block = AttentionTiles.length(dim, TILE);
        float[] queries = compute.scratch(worker, 0, heads * dim * TILE);
        float[] keys = compute.scratch(worker, 1, block);
        float[] values = compute.scratch(worker, 2, block);
        float[] scores = compute.scratch(worker, 3, TILE * TILE);
        float[] sums = compute.scratch(worker, 4, heads * block);
        float[] statistics = compute.scratch(worker, 5, (2 * heads + 1) * TILE);
        int totals = heads * TILE;
        int factors = 2 * heads * TILE;
        for (int head = 0; head < heads; head++) {
            AttentionTiles.pack(q, firstRow, (firstHead + head) * dim, rows, dim, shape.scale(), keys, 0, PANEL);
            AttentionTiles.transpose(keys, 0, PANEL, rows, dim, queries, head * dim * TILE);
        }
        Arrays.fill(statistics, 0, totals, Float.NEGATIVE_INFINITY);
        Arrays.fill(statistics, totals, factors, 0);
        for (int keyFrom = 0; keyFrom < visible; keyFrom += TILE) {
            int count = Math.min(TILE, visible - keyFrom);
            int diagonal = keysBefore + rowFrom - keyFrom;
            AttentionTiles.pack(k, keyRow + keyFrom, keyColumn, count, dim, 1, keys, 0, PANEL);
            AttentionTiles.pack(v, keyRow + keyFrom, keyColumn, count, dim, 1, values, 0, PANEL);
            for (int head = 0; head < heads; head++) {
                int sumsAt = head * block;
                AttentionTiles.scores(keys, 0, PANEL, queries, head * dim * TILE, scores, count, rows, dim, diagonal);
                for (int row = 0; row < rows; row += Lanes.LENGTH) {
                    softmax(
                            scores,
                            count,
                            diagonal,
                            row,
                            statistics,
                            head * TILE + row,
                            totals + head * TILE + row,
                            factors + row);
                }
                if (keyFrom > 0) {
                    rescale(sums, sumsAt, dim, rows, statistics, factors);
                }
                AttentionTiles.gather(
                        scores, values, 0, PANEL, sums, sumsAt, PANEL, count, rows, dim, diagonal, keyFrom > 0);
            }
        }
        for (int head = 0; head < heads; head++) {
            for (int row = 0; row < rows; row++) {
                float total = statistics[totals + head * TILE + row];
                AttentionTiles.unpack(
                        sums,
                        head * block + row * TILE,
                        PANEL,
                        1 / total,
                        out,
                        firstRow + row,
                        (firstHead + head) * dim,
                        dim);
                if (logSumExp != null) {
                    float log = statistics[head * TILE + row] + (float) Math.log(total);
                    long at = logSumExp.rowOffset(firstRow + row) + 4L * (firstHead + head);
                    logSumExp.segment().set(FLOAT, at, log);
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
        AttentionStepVector.attend(compute, worker, shape, q, k, v, count, out, headFrom, headTo);
    }

    /// One tile's part of the online softmax for one vector of rows: replaces scores by exp(score - maximum), with the
    /// maximum over the keys so far, and updates maximum and total; the factor is what earlier sums shrink by.
    private static void softmax(
            float[] scores,
            int count,
            int diagonal,
            int row,
            float[] statistics,
            int maximumAt,
            int totalAt,
            int factorAt) {
        int all = AttentionTiles.visible(diagonal, row, 1, count);
        int some = AttentionTiles.visible(diagonal, row, Lanes.LENGTH, count);
        AttentionTiles.mask(scores, diagonal, row, all, some);
        updateMaximum(scores, row, some, statistics, maximumAt, factorAt);
        ExpVector.exponentials(scores, row, TILE, some, statistics, maximumAt);
        updateTotal(scores, row, some, statistics, totalAt, factorAt);
        AttentionTiles.clearUnseen(scores, count, diagonal, row, some);
    }

    /// maximum = max(maximum, scores), factor = exp(old maximum - new maximum); by comparisons, as vector max pays
    /// several instructions for NaN and the sign of zero.
    private static void updateMaximum(
            float[] scores, int row, int keys, float[] statistics, int maximumAt, int factorAt) {
        FloatVector before = FloatVector.fromArray(SPECIES, statistics, maximumAt);
        FloatVector maximum = before;
        FloatVector odd = before;
        int key = 0;
        for (; key < keys - 1; key += 2) {
            FloatVector score0 = FloatVector.fromArray(SPECIES, scores, key * TILE + row);
            FloatVector score1 = FloatVector.fromArray(SPECIES, scores, (key + 1) * TILE + row);
            maximum = maximum.blend(score0, score0.compare(VectorOperators.GT, maximum));
            odd = odd.blend(score1, score1.compare(VectorOperators.GT, odd));
        }
        if (key < keys) {
            FloatVector score = FloatVector.fromArray(SPECIES, scores, key * TILE + row);
            odd = odd.blend(score, score.compare(VectorOperators.GT, odd));
        }
        maximum = maximum.blend(odd, odd.compare(VectorOperators.GT, maximum));
        // No key seen yet: any finite maximum gives exp(-infinity - maximum) = 0.
        maximum = maximum.blend(0, maximum.compare(VectorOperators.EQ, Float.NEGATIVE_INFINITY));
        before.intoArray(statistics, factorAt);
        maximum.intoArray(statistics, maximumAt);
        ExpVector.exponentials(statistics, factorAt, TILE, 1, statistics, maximumAt);
    }

    /// total = total * factor + the sum of the weights.
    private static void updateTotal(float[] weights, int row, int keys, float[] statistics, int totalAt, int factorAt) {
        FloatVector factor = FloatVector.fromArray(SPECIES, statistics, factorAt);
        FloatVector total = FloatVector.fromArray(SPECIES, statistics, totalAt).mul(factor);
        FloatVector odd = FloatVector.zero(SPECIES);
        int key = 0;
        for (; key < keys - 1; key += 2) {
            total = total.add(FloatVector.fromArray(SPECIES, weights, key * TILE + row));
            odd = odd.add(FloatVector.fromArray(SPECIES, weights, (key + 1) * TILE + row));
        }
        if (key < keys) {
            total = total.add(FloatVector.fromArray(SPECIES, weights, key * TILE + row));
        }
        total.add(odd).intoArray(statistics, totalAt);
    }

    private static void rescale(float[] sums, int at, int dim, int rows, float[] statistics, int factors) {
        for (int row = 0; row < rows; row++) {
            float factor = statistics[factors + row];
            if (factor != 1) {
                AttentionTiles.scaleRow(sums, at + row * TILE, PANEL, dim, factor);
            }
        }
    }

    @Override
    public void rowProducts(
            AttentionShape shape, Matrix a, Matrix b, Matrix products, float[] lanes, int rowFrom, int rowTo) {
        int dim = shape.headDim();
        for (int row = rowFrom; row < rowTo; row++) {
            for (int head = 0; head < shape.heads(); head++) {
                long at = 4L * head * dim;
                float product = dot(a.segment(), a.rowOffset(row) + at, b.segment(), b.rowOffset(row) + at, dim, lanes);
                products.segment().set(FLOAT, products.rowOffset(row) + 4L * head, product);
            }
        }
    }

    private static float dot(MemorySegment a, long aAt, MemorySegment b, long bAt, int count, float[] lanes) {
        FloatVector sums = FloatVector.zero(SPECIES);
        int i = 0;
        for (; i <= count - Lanes.LENGTH; i += Lanes.LENGTH) {
            sums =
                    FloatVector.fromMemorySegment(SPECIES, a, aAt + 4L * i, ORDER)
                            .fma(FloatVector.fromMemorySegment(SPECIES, b, bAt + 4L * i, ORDER), sums);
        }
        Lanes.ONE.mul(sums).intoArray(lanes, 0);
        float sum = Lanes.sum(lanes);
        for (; i < count; i++) {
            sum = Math.fma(a.get(FLOAT, aAt + 4L * i), b.get(FLOAT, bAt + 4L * i), sum);
        }
        return sum;
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
        int range = keyTo - keyFrom;
        // Floats of a panel of all keys, of a head of them, and of a head of one tile's rows.
        int panel = AttentionTiles.roundUp(range, TILE) * TILE;
        int block = AttentionTiles.length(dim, AttentionTiles.roundUp(range, TILE));
        int tile = AttentionTiles.length(dim, TILE);
        float[] transposed = compute.scratch(worker, 0, 2 * (dim + 1) * TILE);
        int statistics = 2 * dim * TILE;
        float[] packed = compute.scratch(worker, 1, 2 * tile);
        float[] grads = compute.scratch(worker, 2, tile);
        float[] keysAndValues = compute.scratch(worker, 3, 2 * block);
        float[] weights = compute.scratch(worker, 4, TILE * TILE);
        float[] gradScores = compute.scratch(worker, 5, TILE * TILE);
        float[] gradKeys = compute.scratch(worker, 6, block);
        float[] gradValues = compute.scratch(worker, 7, block);
        int keyColumn = keyValueHead * dim;
        int keysBefore = shape.keysBefore(sequenceLength);
        int firstRow = Math.max(0, keyFrom - keysBefore);
        AttentionTiles.pack(k, row + keyFrom, keyColumn, range, dim, 1, keysAndValues, 0, panel);
        AttentionTiles.pack(v, row + keyFrom, keyColumn, range, dim, 1, keysAndValues, block, panel);
        Arrays.fill(gradKeys, 0, block, 0);
        Arrays.fill(gradValues, 0, block, 0);
        for (int head = keyValueHead * shape.group(); head < (keyValueHead + 1) * shape.group(); head++) {
            int column = head * dim;
            for (int rowFrom = firstRow; rowFrom < sequenceLength; rowFrom += TILE) {
                int rows = Math.min(TILE, sequenceLength - rowFrom);
                AttentionTiles.pack(gradOut, row + rowFrom, column, rows, dim, 1, grads, 0, PANEL);
                AttentionTiles.transpose(grads, 0, PANEL, rows, dim, transposed, dim * TILE);
                AttentionTiles.pack(q, row + rowFrom, column, rows, dim, shape.scale(), packed, 0, PANEL);
                AttentionTiles.transpose(packed, 0, PANEL, rows, dim, transposed, 0);
                for (int i = 0; i < rows; i++) {
                    transposed[statistics + i] =
                            logSumExp.segment().get(FLOAT, logSumExp.rowOffset(row + rowFrom + i) + 4L * head);
                    transposed[statistics + TILE + i] =
                            along.segment().get(FLOAT, along.rowOffset(row + rowFrom + i) + 4L * head);
                }
                int seen = Math.min(keyTo, keysBefore + rowFrom + rows);
                for (int key = keyFrom; key < seen; key += TILE) {
                    int count = Math.min(TILE, seen - key);
                    int diagonal = keysBefore + rowFrom - key;
                    int at = (key - keyFrom) * TILE;
                    AttentionTiles.scores(keysAndValues, at, panel, transposed, 0, weights, count, rows, dim, diagonal);
                    AttentionTiles.scores(
                            keysAndValues,
                            block + at,
                            panel,
                            transposed,
                            dim * TILE,
                            gradScores,
                            count,
                            rows,
                            dim,
                            diagonal);
                    for (int i = 0; i < rows; i += Lanes.LENGTH) {
                        gradients(weights, gradScores, count, diagonal, i, transposed, statistics + i);
                    }
                    AttentionTiles.scatter(weights, grads, 0, PANEL, gradValues, at, panel, count, rows, dim, diagonal);
                    AttentionTiles.scatter(
                            gradScores, packed, 0, PANEL, gradKeys, at, panel, count, rows, dim, diagonal);
                    AttentionTiles.gather(
                            gradScores,
                            keysAndValues,
                            at,
                            panel,
                            packed,
                            tile,
                            PANEL,
                            count,
                            rows,
                            dim,
                            diagonal,
                            key > keyFrom);
                }
                for (int i = 0; i < rows; i++) {
                    AttentionTiles.unpack(
                            packed, tile + i * TILE, PANEL, shape.scale(), gradQ, gradQRow + rowFrom + i, column, dim);
                }
            }
        }
        for (int i = 0; i < range; i++) {
            AttentionTiles.unpack(gradKeys, i * TILE, panel, 1, gradK, row + keyFrom + i, keyColumn, dim);
            AttentionTiles.unpack(gradValues, i * TILE, panel, 1, gradV, row + keyFrom + i, keyColumn, dim);
        }
    }

    /// For one vector of rows: replaces scores by probabilities P and gradients of probabilities by those of scores.
    private static void gradients(
            float[] weights, float[] gradScores, int count, int diagonal, int row, float[] statistics, int at) {
        int all = AttentionTiles.visible(diagonal, row, 1, count);
        int some = AttentionTiles.visible(diagonal, row, Lanes.LENGTH, count);
        AttentionTiles.mask(weights, diagonal, row, all, some);
        ExpVector.exponentials(weights, row, TILE, some, statistics, at);
        gradientsOfScores(weights, gradScores, row, some, statistics, at + TILE);
        AttentionTiles.clearUnseen(weights, count, diagonal, row, some);
        AttentionTiles.clearUnseen(gradScores, count, diagonal, row, some);
    }

    /// gradScores = weights * (gradScores - along)
    private static void gradientsOfScores(
            float[] weights, float[] gradScores, int row, int keys, float[] statistics, int alongAt) {
        FloatVector along = FloatVector.fromArray(SPECIES, statistics, alongAt);
        for (int key = 0; key < keys; key++) {
            FloatVector weight = FloatVector.fromArray(SPECIES, weights, key * TILE + row);
            FloatVector gradWeight = FloatVector.fromArray(SPECIES, gradScores, key * TILE + row);
            weight.mul(gradWeight.sub(along)).intoArray(gradScores, key * TILE + row);
        }
    }
}
