package io.vectune.runtime.nn;

import static io.vectune.runtime.matmul.BlockTranspose.BLOCK;
import static io.vectune.runtime.nn.Lanes.ORDER;
import static io.vectune.runtime.nn.Lanes.SPECIES;
import static io.vectune.runtime.nn.TileProduct.TILE;

import io.vectune.runtime.matmul.BlockTranspose;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// What the passes of [AttentionVector] share: copies of a head into scratch, and the causal triangle.
///
/// A head lies in scratch in panels of [TileProduct#TILE] features: feature d of row i at `at + d / TILE * panel + i *
/// TILE + d % TILE`, so that the stride of a row is a constant whatever the headDim. Scores are kept transposed, (keys,
/// rows) with TILE elements from one key to the next: then softmax works lane by lane, and no transposed copy of the
/// keys is needed.
final class AttentionTiles {
    /// Steps in which products follow the diagonal: elements of a tile beyond it are not computed.
    static final int STEP = 16;

    private static final FloatVector LANE_INDEX = (FloatVector) SPECIES.broadcast(0).addIndex(1);

    private AttentionTiles() {}

    /// Floats of a head of `rows` rows in scratch.
    static int length(int headDim, int rows) {
        return panels(headDim) * rows * TILE;
    }

    /// Panels of a head.
    private static int panels(int headDim) {
        return (headDim + TILE - 1) / TILE;
    }

    /// Columns of a panel of a head, in whole vectors.
    private static int width(int panel, int headDim) {
        return roundUp(Math.min(TILE, headDim - panel * TILE), Lanes.LENGTH);
    }

    static int roundUp(int value, int multiple) {
        return (value + multiple - 1) / multiple * multiple;
    }

    /// Copies one head of some rows times a factor; zero for the features from dim to the next whole vector.
    ///
    /// @param panel floats from one panel of `to` to the next
    static void pack(
            Matrix matrix, int row, int column, int rows, int dim, float factor, float[] to, int at, int panel) {
        for (int first = 0; first < dim; first += TILE) {
            int features = Math.min(TILE, dim - first);
            int panelAt = at + first / TILE * panel;
            for (int i = 0; i < rows; i++) {
                long from = matrix.rowOffset(row + i) + 4L * (column + first);
                packRow(matrix.segment(), from, features, factor, to, panelAt + i * TILE);
            }
        }
    }

    private static void packRow(MemorySegment segment, long from, int features, float factor, float[] to, int at) {
        int d = 0;
        for (; d <= features - Lanes.LENGTH; d += Lanes.LENGTH) {
            FloatVector.fromMemorySegment(SPECIES, segment, from + 4L * d, ORDER).mul(factor).intoArray(to, at + d);
        }
        if (d < features) {
            int end = d + Lanes.LENGTH;
            for (; d < features; d++) {
                to[at + d] = segment.get(Tensor.FLOAT, from + 4L * d) * factor;
            }
            for (; d < end; d++) {
                to[at + d] = 0;
            }
        }
    }

    /// Multiplies one row by a factor.
    static void scaleRow(float[] packed, int at, int panel, int dim, float factor) {
        for (int d = 0; d < dim; d += Lanes.LENGTH) {
            int i = at + d / TILE * panel + d % TILE;
            FloatVector.fromArray(SPECIES, packed, i).mul(factor).intoArray(packed, i);
        }
    }

    /// Transposes packed rows: to[toAt + d * TILE + i] is feature d of row i, zero for i from rows on.
    static void transpose(float[] packed, int at, int panel, int rows, int dim, float[] to, int toAt) {
        for (int first = 0; first < dim; first += TILE) {
            int features = Math.min(TILE, dim - first);
            transposePanel(packed, at + first / TILE * panel, rows, features, to, toAt + first * TILE);
        }
    }

    private static void transposePanel(float[] packed, int at, int rows, int features, float[] to, int toAt) {
        int wholeRows = rows / BLOCK * BLOCK;
        int blocks = features / BLOCK;
        for (int i = 0; i < wholeRows; i += BLOCK) {
            BlockTranspose.copy(packed, at + i * TILE, TILE, blocks, to, toAt + i, TILE);
        }
        for (int d = 0; d < features; d++) {
            int column = toAt + d * TILE;
            for (int i = d < blocks * BLOCK ? wholeRows : 0; i < rows; i++) {
                to[column + i] = packed[at + i * TILE + d];
            }
            Arrays.fill(to, column + rows, column + roundUp(rows, STEP), 0);
        }
    }

    /// Writes one packed row times a factor back to one head of a row of a matrix.
    static void unpack(float[] packed, int at, int panel, float factor, Matrix matrix, int row, int column, int dim) {
        MemorySegment segment = matrix.segment();
        long to = matrix.rowOffset(row) + 4L * column;
        for (int first = 0; first < dim; first += TILE) {
            int from = at + first / TILE * panel;
            int features = Math.min(TILE, dim - first);
            unpackRow(packed, from, factor, segment, to + 4L * first, features);
        }
    }

    private static void unpackRow(float[] packed, int at, float factor, MemorySegment segment, long to, int features) {
        int d = 0;
        for (; d <= features - Lanes.LENGTH; d += Lanes.LENGTH) {
            FloatVector.fromArray(SPECIES, packed, at + d).mul(factor).intoMemorySegment(segment, to + 4L * d, ORDER);
        }
        for (; d < features; d++) {
            segment.set(Tensor.FLOAT, to + 4L * d, packed[at + d] * factor);
        }
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

    /// scores (keys, rows) = keys (keys, dim) queriesTransposed (dim, rows), above the diagonal only in steps.
    ///
    /// @param panel floats from one panel of the keys to the next
    static void scores(
            float[] keys,
            int keysAt,
            int panel,
            float[] queriesTransposed,
            int queriesAt,
            float[] scores,
            int count,
            int rows,
            int dim,
            int diagonal) {
        int columns = roundUp(rows, Lanes.LENGTH);
        for (int first = 0; first < dim; first += TILE) {
            int from = keysAt + first / TILE * panel;
            int queries = queriesAt + first * TILE;
            int depth = Math.min(TILE, dim - first);
            boolean accumulate = first > 0;
            if (diagonal >= count - 1) {
                TileProduct.multiply(
                        keys, from, queriesTransposed, queries, scores, 0, count, columns, depth, accumulate);
                continue;
            }
            for (int key = 0; key < count; key += STEP) {
                int row = firstRow(diagonal, key);
                TileProduct.multiply(
                        keys,
                        from + key * TILE,
                        queriesTransposed,
                        queries + row,
                        scores,
                        key * TILE + row,
                        Math.min(STEP, count - key),
                        columns - row,
                        depth,
                        accumulate);
            }
        }
    }

    /// sums (rows, dim) (+)= weightsᵀ (rows, keys) values (keys, dim), each row over the keys it may see.
    ///
    /// @param valuesPanel, sumsPanel floats from one panel to the next
    static void gather(
            float[] weights,
            float[] values,
            int valuesAt,
            int valuesPanel,
            float[] sums,
            int sumsAt,
            int sumsPanel,
            int count,
            int rows,
            int dim,
            int diagonal,
            boolean accumulate) {
        for (int panel = 0; panel < panels(dim); panel++) {
            int width = width(panel, dim);
            int from = valuesAt + panel * valuesPanel;
            int to = sumsAt + panel * sumsPanel;
            if (diagonal >= count - 1) {
                TileProduct.multiplyTransposed(weights, 0, values, from, sums, to, rows, width, count, accumulate);
                continue;
            }
            for (int row = 0; row < rows; row += STEP) {
                TileProduct.multiplyTransposed(
                        weights,
                        row,
                        values,
                        from,
                        sums,
                        to + row * TILE,
                        Math.min(STEP, rows - row),
                        width,
                        visible(diagonal, row, STEP, count),
                        accumulate);
            }
        }
    }

    /// sums (keys, dim) += weights (keys, rows) values (rows, dim), each key over the rows that may see it.
    ///
    /// @param valuesPanel, sumsPanel floats from one panel to the next
    static void scatter(
            float[] weights,
            float[] values,
            int valuesAt,
            int valuesPanel,
            float[] sums,
            int sumsAt,
            int sumsPanel,
            int count,
            int rows,
            int dim,
            int diagonal) {
        for (int panel = 0; panel < panels(dim); panel++) {
            int width = width(panel, dim);
            int from = valuesAt + panel * valuesPanel;
            int to = sumsAt + panel * sumsPanel;
            if (diagonal >= count - 1) {
                TileProduct.multiply(weights, 0, values, from, sums, to, count, width, rows, true);
                continue;
            }
            for (int key = 0; key < count; key += STEP) {
                int row = firstRow(diagonal, key);
                if (row < rows) {
                    TileProduct.multiply(
                            weights,
                            key * TILE + row,
                            values,
                            from + row * TILE,
                            sums,
                            to + key * TILE,
                            Math.min(STEP, count - key),
                            width,
                            rows - row,
                            true);
                }
            }
        }
    }
}
