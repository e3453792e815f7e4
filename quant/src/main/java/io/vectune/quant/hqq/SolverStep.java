package io.vectune.quant.hqq;

/// One pass over all weights: each group's next zero point, and the sum of all errors.
interface SolverStep {
    /// Runs the pass.
    ///
    /// @param inverseBeta 1 / beta of the shrinkage
    void run(float inverseBeta);
}
