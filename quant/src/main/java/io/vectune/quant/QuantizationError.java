package io.vectune.quant;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;

/// What quantization cost one weight.
///
///     relativeError = |W - Wq|_F / |W|_F            0 / 0 counts as 0
///
/// @param errorNorm |W - Wq|_F
/// @param weightNorm |W|_F
/// @param worstRow the row of the largest relative L2 error
/// @param worstRowError that error
public record QuantizationError(double errorNorm, double weightNorm, int worstRow, double worstRowError) {
    /// The relative Frobenius error.
    public double relativeError() {
        return errorNorm == 0 ? 0 : errorNorm / weightNorm;
    }

    /// Compares a quantized weight with the dense one, sums in double in index order.
    ///
    /// @param dense F32, F16 or BF16, of the shape of `quantized`
    public static QuantizationError measure(Compute compute, Tensor dense, Weight quantized) {
        int rows = quantized.outFeatures();
        int columns = quantized.inFeatures();
        if (dense.axes() != 2 || dense.size(0) != rows || dense.size(1) != columns) {
            throw new IllegalArgumentException("dense: expected shape [" + rows + ", " + columns + "], found " + dense);
        }
        Weight before = new DenseWeight(dense);
        double[] error = new double[rows];
        double[] size = new double[rows];
        compute.team()
                .run(
                        rows,
                        1 + 65536 / columns,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            float[] was = compute.scratch(worker, 1, columns);
                            for (int o = from; o < to; o++) {
                                quantized.decode(o, o + 1, 0, columns, row, 0, columns);
                                before.decode(o, o + 1, 0, columns, was, 0, columns);
                                for (int i = 0; i < columns; i++) {
                                    double value = was[i];
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
        return new QuantizationError(Math.sqrt(errors), Math.sqrt(sizes), worst, worstError);
    }

    /// The error of the layer's output that a quantized weight causes, weighted:
    ///
    ///     1/2 sum_oi outputWeight[o] * inputMoment[i] * (W - Wq)[o, i]^2
    ///
    /// With the mean square of each input and of the loss's gradient at each output this is the diagonal Fisher estimate
    /// of how much the loss grows a token.
    ///
    /// @param inputMoment [inFeatures]; empty for ones
    /// @param outputWeight [outFeatures]; empty for ones
    public static double weighted(
            Compute compute, Tensor dense, Weight quantized, double[] inputMoment, double[] outputWeight) {
        int rows = quantized.outFeatures();
        int columns = quantized.inFeatures();
        Weight before = new DenseWeight(dense);
        double[] error = new double[rows];
        compute.team()
                .run(
                        rows,
                        1 + 65536 / columns,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            float[] was = compute.scratch(worker, 1, columns);
                            for (int o = from; o < to; o++) {
                                quantized.decode(o, o + 1, 0, columns, row, 0, columns);
                                before.decode(o, o + 1, 0, columns, was, 0, columns);
                                double sum = 0;
                                for (int i = 0; i < columns; i++) {
                                    double difference = (double) was[i] - row[i];
                                    double moment = inputMoment.length == 0 ? 1 : inputMoment[i];
                                    sum += moment * difference * difference;
                                }
                                error[o] = sum * (outputWeight.length == 0 ? 1 : outputWeight[o]);
                            }
                        });
        double sum = 0;
        for (double value : error) {
            sum += value;
        }
        return 0.5 * sum;
    }

    private static double relative(double error, double size) {
        return error == 0 ? 0 : Math.sqrt(error / size);
    }
}
