package io.vectune.adapters;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// An adapter whose change of the weight is exactly a low-rank product, for the present parameters: merged W - W =
/// scaling B A. Such an adapter can be exported as a plain LoRA without loss.
public interface LowRankForm {
    /// The factors.
    ///
    /// @param a (rank, inFeatures)
    /// @param b (outFeatures, rank)
    record Factors(Matrix a, Matrix b, float scaling) {}

    /// The present factors; copies or live views, not to be changed.
    Factors lowRank(Compute compute);
}
