package io.vectune.runtime.nn;

import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.nn.TileProduct.TILE;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// What the passes of [AttentionVector] share: copies of a head into scratch, and the causal triangle.
///
/// Scores are kept transposed, (keys, rows) with [TileProduct#TILE] elements from one key to the next: then softmax
/// works lane by lane, and no transposed copy of the keys is needed.
final class AttentionTiles {
    /// Steps in which products follow the diagonal: elements of a tile beyond it are not computed.
    static final int STEP = 16;

    private static final FloatVector LANE_INDEX = (FloatVector) SPECIES.broadcast(0).addIndex(1);

    private AttentionTiles() {}

    /// Columns of a head in scratch: headDim rounded up to whole vectors.
    static int width(int headDim) {
        return roundUp(headDim, Lanes.LENGTH);
    }

    static int roundUp(int value, int multiple) {
        return (value + multiple - 1) / multiple * multiple;
    }

    /// Copies one head of some rows: to[at + i * width + d] = matrix[row + i, column + d], zero for d from dim on.
    static void pack(Matrix matrix, int row, int column, int rows, int dim, float[] to, int at, int width) {
        MemorySegment segment = matrix.segment();
        for (int i = 0; i < rows; i++) {
            long from = matrix.rowOffset(row + i) + 4L * column;
            int rowAt = at + i * width;
            int d = 0;
            for (; d <= dim - Lanes.LENGTH; d += Lanes.LENGTH) {
                FloatVector.fromMemorySegment(SPECIES, segment, from + 4L * d, ORDER).intoArray(to, rowAt + d);
            }
            for (; d < dim; d++) {
                to[rowAt + d] = segment.get(Tensor.FLOAT, from + 4L * d);
            }
            for (; d < width; d++) {
                to[rowAt + d] = 0;
            }
        }
    }

    /// Multiplies packed rows by a factor.
    static void scale(float[] packed, int at, int length, float factor) {
        for (int i = 0; i < length; i += Lanes.LENGTH) {
            FloatVector.fromArray(SPECIES, packed, at + i).mul(factor).intoArray(packed, at + i);
        }
    }

    /// Transposes packed rows: to[toAt + d * TILE + i] = packed[at + i * width + d], zero for i from rows on.
    static void transpose(float[] packed, int at, int width, int rows, int dim, float[] to, int toAt) {
        int padded = roundUp(rows, STEP);
        for (int d = 0; d < dim; d++) {
            int column = toAt + d * TILE;
            for (int i = 0; i < rows; i++) {
                to[column + i] = packed[at + i * width + d];
            }
            for (int i = rows; i < padded; i++) {
                to[column + i] = 0;
            }
        }
    }

    /// Writes packed rows times a factor each back to one head of some rows.
    static void unpack(float[] packed, int at, int width, float factor, Matrix matrix, int row, int column, int dim) {
        MemorySegment segment = matrix.segment();
        long to = matrix.rowOffset(row) + 4L * column;
        int d = 0;
        for (; d <= dim - Lanes.LENGTH; d += Lanes.LENGTH) {
            FloatVector.fromArray(SPECIES, packed, at + d).mul(factor).intoMemorySegment(segment, to + 4L * d, ORDER);
        }
        for (; d < dim; d++) {
            segment.set(Tensor.FLOAT, to + 4L * d, packed[at + d] * factor);
        }
        assert dim <= width;
    }

    /// Keys of a tile that some of the rows `[row, row + rows)` see.
    ///
    /// @param diagonal key of the tile that row 0 sees last; may lie outside the tile
    static int visible(int diagonal, int row, int rows, int keys) {
        return Math.clamp((long) diagonal + row + rows, 0, keys);
    }

    /// First row that sees a key of the tile, rounded down to a [#STEP].
    static int firstRow(int diagonal, int key) {
        return Math.max(0, key - diagonal) / STEP * STEP;
    }

    /// Sets the scores of one vector of rows to minus infinity for the keys `[from, to)` where a lane does not see
    /// them.
    static void mask(float[] scores, int diagonal, int row, int from, int to) {
        for (int key = from; key < to; key++) {
            FloatVector.fromArray(SPECIES, scores, key * TILE + row)
                    .blend(Float.NEGATIVE_INFINITY, LANE_INDEX.compare(VectorOperators.LT, key - diagonal - row))
                    .intoArray(scores, key * TILE + row);
        }
    }

    /// Zeroes, for one vector of rows, the keys from `from` on that products read for other rows of the same step.
    static void clearUnseen(float[] scores, int count, int diagonal, int row, int from) {
        int to = visible(diagonal, row / STEP * STEP, STEP, count);
        for (int key = from; key < to; key++) {
            FloatVector.zero(SPECIES).intoArray(scores, key * TILE + row);
        }
    }

    /// scores (keys, rows) = keys (keys, width) queriesTransposed (dim, rows), above the diagonal only in steps.
    static void scores(
            float[] keys,
            int keysAt,
            int width,
            float[] queriesTransposed,
            int queriesAt,
            float[] scores,
            int count,
            int rows,
            int dim,
            int diagonal) {
        int columns = roundUp(rows, Lanes.LENGTH);
        if (diagonal >= count - 1) {
            TileProduct.multiply(
                    keys,
                    keysAt,
                    width,
                    queriesTransposed,
                    queriesAt,
                    TILE,
                    scores,
                    0,
                    TILE,
                    count,
                    columns,
                    dim,
                    false);
            return;
        }
        for (int key = 0; key < count; key += STEP) {
            int first = firstRow(diagonal, key);
            TileProduct.multiply(
                    keys,
                    keysAt + key * width,
                    width,
                    queriesTransposed,
                    queriesAt + first,
                    TILE,
                    scores,
                    key * TILE + first,
                    TILE,
                    Math.min(STEP, count - key),
                    columns - first,
                    dim,
                    false);
        }
    }

    /// sums (rows, width) (+)= weightsᵀ (rows, keys) values (keys, width), each row over the keys it may see.
    static void gather(
            float[] weights,
            float[] values,
            int valuesAt,
            int width,
            float[] sums,
            int sumsAt,
            int count,
            int rows,
            int diagonal,
            boolean accumulate) {
        if (diagonal >= count - 1) {
            TileProduct.multiplyTransposed(
                    weights, 0, values, valuesAt, width, sums, sumsAt, width, rows, width, count, accumulate);
            return;
        }
        for (int row = 0; row < rows; row += STEP) {
            int depth = visible(diagonal, row, STEP, count);
            TileProduct.multiplyTransposed(
                    weights,
                    row,
                    values,
                    valuesAt,
                    width,
                    sums,
                    sumsAt + row * width,
                    width,
                    Math.min(STEP, rows - row),
                    width,
                    depth,
                    accumulate);
        }
    }

    /// sums (keys, width) += weights (keys, rows) values (rows, width), each key over the rows that may see it.
    static void scatter(
            float[] weights, float[] values, int width, float[] sums, int sumsAt, int count, int rows, int diagonal) {
        if (diagonal >= count - 1) {
            TileProduct.multiply(weights, 0, TILE, values, 0, width, sums, sumsAt, width, count, width, rows, true);
            return;
        }
        for (int key = 0; key < count; key += STEP) {
            int first = firstRow(diagonal, key);
            if (first < rows) {
                TileProduct.multiply(
                        weights,
                        key * TILE + first,
                        TILE,
                        values,
                        first * width,
                        width,
                        sums,
                        sumsAt + key * width,
                        width,
                        Math.min(STEP, count - key),
                        width,
                        rows - first,
                        true);
            }
        }
    }
}
