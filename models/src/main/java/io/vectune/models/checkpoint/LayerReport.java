package io.vectune.models.checkpoint;

import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;

/// What quantizing a layer did to it.
///
/// @param layer its name
/// @param bitsPerWeight stored bits a weight, metadata included
/// @param relativeError Frobenius norm of the change over that of the weight; 0 for a weight of zeros
/// @param worstRow the output row whose relative error is largest
/// @param worstRowError its relative error
/// @param denseBytes before
/// @param storedBytes after
/// @param seconds that quantizing took
public record LayerReport(
        String layer,
        double bitsPerWeight,
        double relativeError,
        int worstRow,
        double worstRowError,
        long denseBytes,
        long storedBytes,
        double seconds) {
    private static final int TILE_ROWS = 32;

    /// Compares a weight before and after.
    static LayerReport of(String layer, Tensor dense, Weight quantized, long storedBytes, double seconds) {
        Weight before = new DenseWeight(dense);
        int columns = quantized.inFeatures();
        int rows = quantized.outFeatures();
        float[] was = new float[TILE_ROWS * columns];
        float[] is = new float[TILE_ROWS * columns];
        double change = 0;
        double norm = 0;
        int worstRow = 0;
        double worst = -1;
        for (int from = 0; from < rows; from += TILE_ROWS) {
            int to = Math.min(rows, from + TILE_ROWS);
            before.decode(from, to, 0, columns, was, 0, columns);
            quantized.decode(from, to, 0, columns, is, 0, columns);
            for (int row = from; row < to; row++) {
                double rowChange = 0;
                double rowNorm = 0;
                for (int at = (row - from) * columns; at < (row - from + 1) * columns; at++) {
                    double difference = (double) is[at] - was[at];
                    rowChange += difference * difference;
                    rowNorm += (double) was[at] * was[at];
                }
                change += rowChange;
                norm += rowNorm;
                double relative = rowNorm == 0 ? 0 : Math.sqrt(rowChange / rowNorm);
                if (relative > worst) {
                    worst = relative;
                    worstRow = row;
                }
            }
        }
        return new LayerReport(
                layer,
                8.0 * storedBytes / ((double) rows * columns),
                norm == 0 ? 0 : Math.sqrt(change / norm),
                worstRow,
                Math.max(worst, 0),
                dense.byteSize(),
                storedBytes,
                seconds);
    }
}
