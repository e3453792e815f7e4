package io.vectune.quant.bnb;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;

/// The product of LLM.int8(): the input is quantized too, row by row, and columns with outliers are multiplied apart.
///
///     outlier columns   those where |x| >= threshold in any row (x rounded to f16); none where threshold is 0
///     xCode, xAbsmax    int8 codes and absmax of each row of x without its outliers, as a weight's rows
///     y = (sum of xCode * code, exact) * xAbsmax * absmax / 127^2 + sum over outlier columns of x * W
///
/// This is what bitsandbytes evaluates; it costs accuracy (about 3 % of the logits' size) that the plain product of an
/// [Int8Weight] does not. The library's CPU constant for 1 / 127^2 is 1.8e-5 too large; here it is exact.
/// Source: bitsandbytes/autograd/_functions.py MatMul8bitLt, backends/default/ops.py int8_vectorwise_quant
public final class Int8Product {
    /// Sums of 1024 products of two codes stay below 2^24 and are exact in f32: 1024 * 127 * 127 = 16,516,096.
    private static final int EXACT_COLUMNS = 1024;

    private Int8Product() {}

    /// y = x Wᵀ with quantized input; overwrites y.
    ///
    /// @param x (tokens, inFeatures)
    /// @param y (tokens, outFeatures)
    /// @param threshold 6 by default in the library; 0 for no outliers
    public static void multiply(Compute compute, Int8Weight weight, Matrix x, Matrix y, float threshold) {
        int inFeatures = weight.inFeatures();
        int tokens = x.rows();
        if (x.columns() != inFeatures || y.rows() != tokens || y.columns() != weight.outFeatures()) {
            throw new IllegalArgumentException(
                    "expected x (tokens, "
                            + inFeatures
                            + ") and y (tokens, "
                            + weight.outFeatures()
                            + "), found ("
                            + tokens
                            + ", "
                            + x.columns()
                            + ") and ("
                            + y.rows()
                            + ", "
                            + y.columns()
                            + ")");
        }
        if (!(threshold >= 0)) {
            throw new IllegalArgumentException("threshold: expected 0 or more, found " + threshold);
        }
        boolean[] outlier = new boolean[inFeatures];
        int outliers = threshold == 0 ? 0 : findOutliers(x, threshold, outlier);
        float[] codes = new float[Math.multiplyExact(tokens, inFeatures)];
        float[] absmax = new float[tokens];
        quantize(x, threshold, outlier, codes, absmax);
        int[] columns = new int[outliers];
        int next = 0;
        for (int column = 0; column < inFeatures; column++) {
            if (outlier[column]) {
                columns[next++] = column;
            }
        }
        compute.team()
                .run(
                        weight.outFeatures(),
                        1,
                        (from, to, worker) -> {
                            for (int row = from; row < to; row++) {
                                for (int token = 0; token < tokens; token++) {
                                    double sum = codeSum(weight, row, codes, token * inFeatures);
                                    double value =
                                            sum * absmax[token] * weight.absmax(row) / (127.0 * 127.0)
                                                    + outlierSum(weight, row, x, token, columns);
                                    y.set(token, row, (float) value);
                                }
                            }
                        });
    }

    private static int findOutliers(Matrix x, float threshold, boolean[] outlier) {
        int count = 0;
        for (int token = 0; token < x.rows(); token++) {
            for (int column = 0; column < outlier.length; column++) {
                if (!outlier[column] && isOutlier(x.get(token, column), threshold)) {
                    outlier[column] = true;
                    count++;
                }
            }
        }
        return count;
    }

    private static boolean isOutlier(float value, float threshold) {
        return Math.abs(Float.float16ToFloat(Float.floatToFloat16(value))) >= threshold;
    }

    private static void quantize(Matrix x, float threshold, boolean[] outlier, float[] codes, float[] absmax) {
        int inFeatures = outlier.length;
        float[] row = new float[inFeatures];
        byte[] rowCodes = new byte[inFeatures];
        for (int token = 0; token < x.rows(); token++) {
            for (int column = 0; column < inFeatures; column++) {
                float value = x.get(token, column);
                row[column] = outlier[column] && isOutlier(value, threshold) ? 0 : value;
            }
            absmax[token] = Int8Quantizer.quantizeRow(row, 0, inFeatures, rowCodes);
            for (int column = 0; column < inFeatures; column++) {
                codes[token * inFeatures + column] = outlier[column] ? 0 : rowCodes[column];
            }
        }
    }

    private static double codeSum(Int8Weight weight, int row, float[] codes, int from) {
        int inFeatures = weight.inFeatures();
        double sum = 0;
        for (int column = 0; column < inFeatures; column += EXACT_COLUMNS) {
            int count = Math.min(EXACT_COLUMNS, inFeatures - column);
            long at = (long) row * inFeatures + column;
            sum += Int8Weight.KERNELS.dot(weight.codes(), at, count, codes, from + column);
        }
        return sum;
    }

    private static double outlierSum(Int8Weight weight, int row, Matrix x, int token, int[] columns) {
        double sum = 0;
        for (int column : columns) {
            byte code = weight.codes().get(Tensor.BYTE, (long) row * weight.inFeatures() + column);
            sum += (double) x.get(token, column) * (code * weight.absmax(row) * Int8Weight.STEP);
        }
        return sum;
    }
}
