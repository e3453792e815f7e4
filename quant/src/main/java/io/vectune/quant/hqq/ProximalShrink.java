package io.vectune.quant.hqq;

/// The shrinkage operator of the half-quadratic solver for the norm p = 0.7, in f32:
///
///     shrink(e) = max(|e| - |e|^(p-1) / beta, 0) * sign(e)
///
/// It is exactly zero unless |e|^1.3 > 1/beta, that is |e| > 0.17 for beta = 10: errors of language-model weights do
/// not get there. Source: hqq/core/optimize.py (shrink_lp_op).
final class ProximalShrink {
    /// Errors up to this size shrink to zero for every beta in use (10 to 12.2, where the bound is 0.146).
    static final float SURELY_ZERO = 0.14f;

    /// p - 1.
    static final float POWER = -0.3f;

    private ProximalShrink() {}

    /// @param error the difference of a weight and its reconstruction
    /// @param inverseBeta 1 / beta
    /// @param tail whether torch computes the element outside its vector loop, where the power is that of double
    static float shrink(float error, float inverseBeta, boolean tail) {
        float magnitude = Math.abs(error);
        if (magnitude <= SURELY_ZERO) {
            return 0f;
        }
        float power = tail ? (float) Math.pow(magnitude, 0.7 - 1) : FloatPower.power(magnitude, POWER);
        float shrunk = Math.max(magnitude - inverseBeta * power, 0f);
        return shrunk * Math.signum(error);
    }
}
