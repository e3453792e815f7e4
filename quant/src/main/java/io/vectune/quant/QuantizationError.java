package io.vectune.quant;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.Weight;

/// What quantization cost one weight.
///
///     relativeError = |W - Wq|_F / |W|_F            0 / 0 counts as 0
///
/// @param bitsPerWeight stored bits a weight, metadata included
/// @param relativeError relative Frobenius error
/// @param worstRow the row of the largest relative L2 error
/// @param worstRowError that error
/// @param nanos how long quantizing took
public record QuantizationError(
        double bitsPerWeight, double relativeError, int worstRow, double worstRowError, long nanos) {
    /// Compares a quantized weight with the dense one, sums in double in index order.
    ///
    /// @param dense F32, F16 or BF16, of the shape of `quantized`
    public static QuantizationError measure(Compute compute, Tensor dense, Weight quantized, long nanos) {
        int rows = quantized.outFeatures();
        int columns = quantized.inFeatures();
        if (dense.axes() != 2 || dense.size(0) != rows || dense.size(1) != columns) {
            throw new IllegalArgumentException("dense: expected shape [" + rows + ", " + columns + "], found " + dense);
        }
        double[] error = new double[rows];
        double[] size = new double[rows];
        compute.team()
                .run(
                        rows,
                        1 + 65536 / columns,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            for (int o = from; o < to; o++) {
                                quantized.decode(o, o + 1, 0, columns, row, 0, columns);
                                for (int i = 0; i < columns; i++) {
                                    double value = dense.getFloat((long) o * columns + i);
                                    double difference = value - row[i];
                                    error[o] += difference * difference;
                                    size[o] += value * value;
                                }
                            }
                        });
        double errors = 0;
        double sizes = 0;
        int worst = 0;
        double worstError = 0;
        for (int o = 0; o < rows; o++) {
            errors += error[o];
            sizes += size[o];
            double relative = relative(error[o], size[o]);
            if (relative > worstError) {
                worst = o;
                worstError = relative;
            }
        }
        double bits = 8.0 * quantized.storageBytes() / ((double) rows * columns);
        return new QuantizationError(bits, relative(errors, sizes), worst, worstError, nanos);
    }

    private static double relative(double error, double size) {
        return error == 0 ? 0 : Math.sqrt(error / size);
    }
}
