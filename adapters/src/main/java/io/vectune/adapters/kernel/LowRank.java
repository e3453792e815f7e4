package io.vectune.adapters.kernel;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// The low-rank path that most kinds share: y += s (x Aᵀ) Bᵀ and its gradients.
///
/// Shapes x (tokens, inFeatures), A (rank, inFeatures), B (outFeatures, rank), h (tokens, rank) Cost 2 tokens rank
/// (inFeatures + outFeatures) flop forward, twice that backward
public final class LowRank {
    private LowRank() {}

    /// h = x Aᵀ; y += s h Bᵀ.
    public static void forward(Compute compute, Matrix x, Matrix a, Matrix b, float s, Matrix h, Matrix y) {
        MatMul.nt(compute, 1, x, a, h, false);
        MatMul.nt(compute, s, h, b, y, true);
    }

    /// Backward of [#forward]:
    ///
    ///     gH = s gY B     dB += s gYᵀ h     dA += gHᵀ x     gX = gH A
    ///
    /// @param gradH (tokens, rank), overwritten with gH
    /// @param gradA, gradB added to; null for frozen factors
    /// @param gradInput overwritten, or null
    public static void backward(
            Compute compute,
            Matrix x,
            Matrix a,
            Matrix b,
            float s,
            Matrix h,
            Matrix gradOutput,
            Matrix gradH,
            @Nullable Matrix gradA,
            @Nullable Matrix gradB,
            @Nullable Matrix gradInput) {
        MatMul.nn(compute, s, gradOutput, b, gradH, false);
        if (gradB != null) {
            MatMul.tn(compute, s, gradOutput, h, gradB, true);
        }
        if (gradA != null) {
            MatMul.tn(compute, 1, gradH, x, gradA, true);
        }
        if (gradInput != null) {
            MatMul.nn(compute, 1, gradH, a, gradInput, false);
        }
    }
}
