package io.vectune.quant.hqq;

/// x^y in f32 with the bits of torch's vector loop on machines with fused multiply-add.
///
/// Not correctly rounded (at most one unit in the last place), so that the sequence of roundings matters: the logarithm
/// as a series in (m - 1) / (m + 1) over the mantissa m in [0.75, 1.5), the product with y, and the exponential, all in
/// double-float arithmetic. Constants and order as published in Sleef's single-precision pow (error bound 1.0 ulp).
final class FloatPower {
    static final DoubleFloat LN2 = new DoubleFloat(0.6931472f, -1.9046542e-09f);
    static final DoubleFloat TWO_THIRDS = new DoubleFloat(0.6666666f, 3.6918386e-09f);
    static final float INVERSE_LN2 = 1.442695f;
    static final float LN2_UPPER = 0.69314575f;
    static final float LN2_LOWER = 1.4286068e-06f;

    /// The series of the logarithm, behind 2/3.
    static final float LOG_1 = 0.400008f;

    static final float LOG_2 = 0.28511268f;
    static final float LOG_3 = 0.24032035f;

    /// The series of the exponential, behind 1 + x.
    static final float EXP_1 = 0.49999985f;

    static final float EXP_2 = 0.16666552f;
    static final float EXP_3 = 0.041671082f;
    static final float EXP_4 = 0.008365969f;
    static final float EXP_5 = 0.0013632465f;

    private FloatPower() {}

    /// x^y for a finite, positive, normal x and a result in the normal range.
    static float power(float x, float y) {
        return exponential(logarithm(x).times(y));
    }

    private static DoubleFloat logarithm(float value) {
        int exponent = Math.getExponent(value * (1f / 0.75f));
        float mantissa = Math.scalb(value, -exponent);
        DoubleFloat x = DoubleFloat.sum(-1f, mantissa).dividedBy(DoubleFloat.sum(1f, mantissa));
        DoubleFloat square = x.squared();
        float series = Math.fma(LOG_3, square.high(), LOG_2);
        series = Math.fma(series, square.high(), LOG_1);
        DoubleFloat cubic = square.times(x).times(square.times(series).plus(TWO_THIRDS));
        return LN2.times((float) exponent).plusSmaller(x.scaled(2f)).plusSmaller(cubic);
    }

    private static float exponential(DoubleFloat value) {
        float quotient = (float) Math.rint((value.high() + value.low()) * INVERSE_LN2);
        DoubleFloat x = value.plus(quotient * -LN2_UPPER).plus(quotient * -LN2_LOWER).normalized();
        float series = Math.fma(EXP_5, x.high(), EXP_4);
        series = Math.fma(series, x.high(), EXP_3);
        series = Math.fma(series, x.high(), EXP_2);
        series = Math.fma(series, x.high(), EXP_1);
        DoubleFloat rest = x.plusSmaller(x.squared().times(series));
        DoubleFloat sum = new DoubleFloat(1f, 0f).plusSmaller(rest);
        return Math.scalb(sum.high() + sum.low(), (int) quotient);
    }
}
