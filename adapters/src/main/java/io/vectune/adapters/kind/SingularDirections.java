package io.vectune.adapters.kind;

import io.vectune.adapters.linalg.TopSvd;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
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
    static int[] choose(Compute compute, TopSvd svd, Matrix inputs, @Nullable Matrix opposites, int count) {
        int candidates = svd.s().length;
        double[] score = means(compute, svd, inputs, opposites == null);
        double[] other = opposites == null ? new double[candidates] : means(compute, svd, opposites, false);
        for (int k = 0; k < candidates; k++) {
            score[k] = svd.s()[k] * Math.abs(score[k] - other[k]);
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

    // For each candidate the mean over the inputs of x . v_k, or of its size.
    private static double[] means(Compute compute, TopSvd svd, Matrix inputs, boolean sizes) {
        int candidates = svd.s().length;
        int features = inputs.columns();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix directions = workspace.matrix(candidates, features);
        for (int k = 0; k < candidates; k++) {
            for (int i = 0; i < features; i++) {
                directions.set(k, i, (float) svd.v()[k * features + i]);
            }
        }
        Matrix projected = workspace.matrix(inputs.rows(), candidates);
        MatMul.nt(compute, 1, inputs, directions, projected, false);
        float[] values = projected.toArray();
        double[] means = new double[candidates];
        for (int t = 0; t < inputs.rows(); t++) {
            for (int k = 0; k < candidates; k++) {
                float value = values[t * candidates + k];
                means[k] += (sizes ? Math.abs(value) : value) / (double) inputs.rows();
            }
        }
        workspace.release(mark);
        return means;
    }
}
