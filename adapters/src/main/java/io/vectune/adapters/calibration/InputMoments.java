package io.vectune.adapters.calibration;

import io.vectune.adapters.linalg.TopSvd;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;

/// The second moment of a layer's inputs, streamed: sum_t x_t x_tᵀ and sum_t x_t, kept in double. Nothing is
/// approximated on the way, so the order and size of batches hardly matter, unlike with an incremental PCA.
///
/// Memory 8 inFeatures^2 bytes
public final class InputMoments {
    private final int features;
    private final double[] second;
    private final double[] sum;
    private long tokens;

    /// @param features inFeatures of the layer
    public InputMoments(int features) {
        this.features = features;
        this.second = new double[Math.multiplyExact(features, features)];
        this.sum = new double[features];
    }

    /// Tokens seen.
    public long tokens() {
        return tokens;
    }

    /// Adds the rows of a batch.
    public void add(Compute compute, Matrix x) {
        if (x.columns() != features) {
            throw new IllegalArgumentException("inputs: expected " + features + " features, found " + x.columns());
        }
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix product = workspace.matrix(features, features);
        MatMul.tn(compute, 1, x, x, product, false);
        float[] values = product.toArray();
        for (int i = 0; i < values.length; i++) {
            second[i] += values[i];
        }
        for (int t = 0; t < x.rows(); t++) {
            float[] row = x.rows(t, t + 1).toArray();
            for (int i = 0; i < features; i++) {
                sum[i] += row[i];
            }
        }
        tokens += x.rows();
        workspace.release(mark);
    }

    /// The leading directions of variation.
    ///
    /// @param directions (count, inFeatures), orthonormal, on the heap's own memory
    /// @param explained part of the total variation along each, descending
    @SuppressWarnings("ArrayRecordComponent") // a result that nobody compares
    public record Principal(Matrix directions, double[] explained) {}

    /// The leading eigenvectors of the second moment.
    ///
    /// @param centered whether the mean is taken out first (PCA); otherwise directions of the raw inputs
    public Principal principal(Compute compute, int count, boolean centered, long seed) {
        double trace = 0;
        try (Arena arena = Arena.ofShared()) {
            Tensor tensor = Tensor.allocate(arena, DType.F32, features, features);
            for (int i = 0; i < features; i++) {
                for (int j = 0; j < features; j++) {
                    double value = second[i * features + j];
                    if (centered) {
                        value -= sum[i] * sum[j] / tokens;
                    }
                    tensor.setFloat((long) i * features + j, (float) (value / tokens));
                }
                trace += tensor.getFloat((long) i * features + i);
            }
            int kept = Math.min(count, features);
            TopSvd svd = TopSvd.of(compute, new DenseWeight(tensor), kept, seed);
            Matrix directions = Matrix.allocate(Arena.ofAuto(), kept, features);
            double[] explained = new double[kept];
            for (int k = 0; k < kept; k++) {
                explained[k] = trace > 0 ? svd.s()[k] / trace : 0;
                for (int i = 0; i < features; i++) {
                    directions.set(k, i, (float) svd.v()[k * features + i]);
                }
            }
            return new Principal(directions, explained);
        }
    }
}
