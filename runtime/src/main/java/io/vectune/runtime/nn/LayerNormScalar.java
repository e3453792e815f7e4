package io.vectune.runtime.nn;

import static io.vectune.runtime.tensor.Tensor.FLOAT;

import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// [LayerNorm] in formula order.
final class LayerNormScalar implements LayerNormKernel {
    @Override
    public void forward(
            Matrix x,
            Matrix weight,
            Matrix bias,
            float eps,
            Matrix y,
            @Nullable Matrix statistics,
            float[] lanes,
            int rowFrom,
            int rowTo) {
        int n = x.columns();
        for (int row = rowFrom; row < rowTo; row++) {
            long at = x.rowOffset(row);
            double sum = 0;
            for (int i = 0; i < n; i++) {
                sum += x.segment().get(FLOAT, at + 4L * i);
            }
            float mean = (float) (sum / n);
            double squares = 0;
            for (int i = 0; i < n; i++) {
                double centered = x.segment().get(FLOAT, at + 4L * i) - mean;
                squares = Math.fma(centered, centered, squares);
            }
            float inverse = (float) (1 / Math.sqrt(squares / n + eps));
            normalizeRow(x, weight, bias, y, row, mean, inverse, 0);
            keep(statistics, row, mean, inverse);
        }
    }

    static void keep(@Nullable Matrix statistics, int row, float mean, float inverse) {
        if (statistics != null) {
            statistics.segment().set(FLOAT, statistics.rowOffset(row), mean);
            statistics.segment().set(FLOAT, statistics.rowOffset(row) + 4, inverse);
        }
    }

    static float mean(Matrix statistics, int row) {
        return statistics.segment().get(FLOAT, statistics.rowOffset(row));
    }

    static float inverse(Matrix statistics, int row) {
        return statistics.segment().get(FLOAT, statistics.rowOffset(row) + 4);
    }

    static void normalizeRow(
            Matrix x, Matrix weight, Matrix bias, Matrix y, int row, float mean, float inverse, int columnFrom) {
        for (int i = columnFrom; i < x.columns(); i++) {
            float normalized = (x.segment().get(FLOAT, x.rowOffset(row) + 4L * i) - mean) * inverse;
            float factor = weight.segment().get(FLOAT, weight.offset() + 4L * i);
            float shift = bias.segment().get(FLOAT, bias.offset() + 4L * i);
            y.segment().set(FLOAT, y.rowOffset(row) + 4L * i, Math.fma(normalized, factor, shift));
        }
    }

    @Override
    public void backward(
            Matrix x,
            Matrix weight,
            Matrix statistics,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            float[] lanes,
            int rowFrom,
            int rowTo) {
        int n = x.columns();
        for (int row = rowFrom; row < rowTo; row++) {
            float mean = mean(statistics, row);
            float inverse = inverse(statistics, row);
            double sum = 0;
            double along = 0;
            for (int i = 0; i < n; i++) {
                float normalized = (x.segment().get(FLOAT, x.rowOffset(row) + 4L * i) - mean) * inverse;
                float weighted = weighted(weight, gradY, row, i);
                sum += weighted;
                along = Math.fma((double) weighted, normalized, along);
            }
            writeRow(
                    x, weight, gradY, gradX, accumulate, row, mean, inverse, (float) (sum / n), (float) (along / n), 0);
        }
    }

    static float weighted(Matrix weight, Matrix gradY, int row, int i) {
        return weight.segment().get(FLOAT, weight.offset() + 4L * i)
                * gradY.segment().get(FLOAT, gradY.rowOffset(row) + 4L * i);
    }

    /// gradX of the columns from `columnFrom` on, with the two means of the row.
    static void writeRow(
            Matrix x,
            Matrix weight,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            int row,
            float mean,
            float inverse,
            float meanGrad,
            float meanAlong,
            int columnFrom) {
        for (int i = columnFrom; i < x.columns(); i++) {
            float normalized = (x.segment().get(FLOAT, x.rowOffset(row) + 4L * i) - mean) * inverse;
            float centered = weighted(weight, gradY, row, i) - meanGrad;
            float gradient = inverse * Math.fma(-normalized, meanAlong, centered);
            long at = gradX.rowOffset(row) + 4L * i;
            gradX.segment().set(FLOAT, at, accumulate ? gradX.segment().get(FLOAT, at) + gradient : gradient);
        }
    }

    @Override
    public void gradWeight(Matrix x, Matrix statistics, Matrix gradY, Matrix gradWeight, int columnFrom, int columnTo) {
        for (int row = 0; row < x.rows(); row++) {
            addWeightRow(x, statistics, gradY, gradWeight, row, columnFrom, columnTo);
        }
    }

    static void addWeightRow(
            Matrix x, Matrix statistics, Matrix gradY, Matrix gradWeight, int row, int columnFrom, int columnTo) {
        float mean = mean(statistics, row);
        float inverse = inverse(statistics, row);
        for (int i = columnFrom; i < columnTo; i++) {
            float normalized = (x.segment().get(FLOAT, x.rowOffset(row) + 4L * i) - mean) * inverse;
            float g = gradY.segment().get(FLOAT, gradY.rowOffset(row) + 4L * i);
            long at = gradWeight.offset() + 4L * i;
            gradWeight.segment().set(FLOAT, at, Math.fma(g, normalized, gradWeight.segment().get(FLOAT, at)));
        }
    }
}
