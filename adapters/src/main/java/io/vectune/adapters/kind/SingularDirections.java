package io.vectune.adapters.kind;

import io.vectune.adapters.linalg.TopSvd;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// Chooses the singular directions that matter for data.
///
///     calibration   score_k = s_k mean_t |x_t . v_k|
///     contrast      score_k = s_k |mean over x of x . v_k  -  mean over opposites of x . v_k|
final class SingularDirections {
    private SingularDirections() {}

    /// Indices of the `count` directions of largest score, ascending.
    ///
    /// @param inputs (samples, inFeatures)
    /// @param opposites (samples, inFeatures) of the opposite behavior, or null
    static int[] choose(TopSvd svd, Matrix inputs, @Nullable Matrix opposites, int count) {
        int candidates = svd.s().length;
        double[] score = new double[candidates];
        for (int k = 0; k < candidates; k++) {
            double size =
                    opposites == null
                            ? mean(svd, k, inputs, true)
                            : Math.abs(mean(svd, k, inputs, false) - mean(svd, k, opposites, false));
            score[k] = svd.s()[k] * size;
        }
        int[] order =
                IntStream.range(0, candidates)
                        .boxed()
                        .sorted(Comparator.comparingDouble((Integer k) -> -score[k]))
                        .mapToInt(Integer::intValue)
                        .limit(count)
                        .toArray();
        Arrays.sort(order);
        return order;
    }

    private static double mean(TopSvd svd, int k, Matrix inputs, boolean absolute) {
        int features = inputs.columns();
        double sum = 0;
        for (int t = 0; t < inputs.rows(); t++) {
            double dot = 0;
            for (int i = 0; i < features; i++) {
                dot += inputs.get(t, i) * svd.v()[k * features + i];
            }
            sum += absolute ? Math.abs(dot) : dot;
        }
        return sum / inputs.rows();
    }
}
