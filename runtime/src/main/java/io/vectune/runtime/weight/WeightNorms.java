package io.vectune.runtime.weight;

import org.jspecify.annotations.Nullable;

/// Squared L2 norms of the rows and the columns of a weight, accumulated in double in index order, computed on first
/// use and kept. Safe for all threads.
///
///     rowSquared[o] = sum_i W[o, i]^2        columnSquared[i] = sum_o W[o, i]^2
public final class WeightNorms {
    private static final int TILE_ROWS = 16;

    private final Weight weight;
    private double @Nullable [] rowSquared;
    private double @Nullable [] columnSquared;

    public WeightNorms(Weight weight) {
        this.weight = weight;
    }

    /// A copy of the squared row norms, [outFeatures].
    public synchronized double[] rowSquared() {
        if (rowSquared == null) {
            compute();
        }
        return copy(rowSquared);
    }

    /// A copy of the squared column norms, [inFeatures].
    public synchronized double[] columnSquared() {
        if (columnSquared == null) {
            compute();
        }
        return copy(columnSquared);
    }

    private static double[] copy(double @Nullable [] values) {
        if (values == null) {
            throw new IllegalStateException("norms were not computed");
        }
        return values.clone();
    }

    private void compute() {
        int columns = weight.inFeatures();
        double[] byRow = new double[weight.outFeatures()];
        double[] byColumn = new double[columns];
        float[] tile = new float[Math.multiplyExact(TILE_ROWS, columns)];
        for (int from = 0; from < byRow.length; from += TILE_ROWS) {
            int to = Math.min(byRow.length, from + TILE_ROWS);
            weight.decode(from, to, 0, columns, tile, 0, columns);
            for (int row = from; row < to; row++) {
                double sum = 0;
                for (int column = 0; column < columns; column++) {
                    double value = tile[(row - from) * columns + column];
                    sum += value * value;
                    byColumn[column] += value * value;
                }
                byRow[row] = sum;
            }
        }
        rowSquared = byRow;
        columnSquared = byColumn;
    }
}
