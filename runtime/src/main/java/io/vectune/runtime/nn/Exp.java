package io.vectune.runtime.nn;

/// exp(x) in f32, the same bits from the scalar and the vector tier.
///
///     n = round(x / ln 2),  r = x - n ln 2 (in two parts, fused),  exp(x) = 2^n (1 + r + r^2 q(r))
///
/// with q a polynomial of degree 4 fitted to |r| <= ln(2) / 2. Only additions, multiplications and fused
/// multiply-adds, which IEEE 754 rounds the same way in any lane. Error below 1 ulp where the result is a normal
/// number; results below the smallest normal number are 0, results above the largest are infinite.
public final class Exp {
    static final float LOG2_E = 0x1.715476p0f;

    /// Adding and subtracting 1.5 * 2^23 rounds to an integer, ties to even.
    static final float ROUND = 0x1.8p23f;

    /// ln 2 in two parts; the first has 11 bits, so that n * LN2_HIGH is exact.
    static final float LN2_HIGH = 0x1.62ep-1f;

    static final float LN2_LOW = 0x1.0bfbe8p-15f;
    static final float C2 = 0x1.fffffcp-2f;
    static final float C3 = 0x1.555492p-3f;
    static final float C4 = 0x1.5558f2p-5f;
    static final float C5 = 0x1.123a2p-7f;
    static final float C6 = 0x1.6a23dp-10f;

    /// Just above ln of the smallest normal number.
    static final float LOWEST = -87.3365f;

    /// Just below ln of the largest finite number.
    static final float HIGHEST = 88.72283f;

    /// Up to here n is at most 127, so that 2^n is a float itself.
    static final float SAFE = 88;

    private Exp() {}

    /// exp(x).
    public static float exp(float x) {
        if (x < LOWEST) {
            return 0;
        }
        if (!(x <= HIGHEST)) {
            return x + Float.POSITIVE_INFINITY;
        }
        float shifted = Math.fma(x, LOG2_E, ROUND);
        float n = shifted - ROUND;
        float r = Math.fma(n, -LN2_LOW, Math.fma(n, -LN2_HIGH, x));
        float q = Math.fma(Math.fma(Math.fma(Math.fma(C6, r, C5), r, C4), r, C3), r, C2);
        float p = Math.fma(r * r, q, r) + 1;
        // Between LOWEST and HIGHEST the sum of the exponents of p and 2^n is that of a normal number.
        int exponent = Float.floatToRawIntBits(shifted) - Float.floatToRawIntBits(ROUND);
        return Float.intBitsToFloat(Float.floatToRawIntBits(p) + (exponent << 23));
    }

    /// The logistic function 1 / (1 + exp(-x)); 0 where it is below exp(-88).
    public static float sigmoid(float x) {
        return -x > SAFE ? 0 : 1 / (1 + exp(-x));
    }
}
