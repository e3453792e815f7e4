package io.vectune.quant.hqq;

/// An unevaluated sum of two f32 values, the second far smaller: about 48 bits of precision.
///
/// The classical error-free sums and products (Dekker, Knuth; products by fused multiply-add), rounded in the order
/// that Sleef's single-precision functions use, which decides the last bit of their results.
///
/// @param high the value rounded to f32
/// @param low what is left
record DoubleFloat(float high, float low) {
    /// a + b, exactly, for any sizes.
    static DoubleFloat sum(float a, float b) {
        float high = a + b;
        float fromB = high - a;
        return new DoubleFloat(high, (a - (high - fromB)) + (b - fromB));
    }

    /// This plus `other`, of smaller size.
    DoubleFloat plusSmaller(DoubleFloat other) {
        float sum = high + other.high;
        return new DoubleFloat(sum, (high - sum) + other.high + low + other.low);
    }

    /// This plus `other`, of any size.
    DoubleFloat plus(DoubleFloat other) {
        DoubleFloat sum = sum(high, other.high);
        return new DoubleFloat(sum.high, sum.low + (low + other.low));
    }

    /// This plus an f32 value of any size.
    DoubleFloat plus(float value) {
        DoubleFloat sum = sum(high, value);
        return new DoubleFloat(sum.high, sum.low + low);
    }

    DoubleFloat times(float factor) {
        float product = high * factor;
        return new DoubleFloat(product, Math.fma(low, factor, Math.fma(high, factor, -product)));
    }

    DoubleFloat times(DoubleFloat factor) {
        float product = high * factor.high;
        float rest = Math.fma(high, factor.high, -product);
        return new DoubleFloat(product, Math.fma(high, factor.low, Math.fma(low, factor.high, rest)));
    }

    DoubleFloat squared() {
        float product = high * high;
        return new DoubleFloat(product, Math.fma(high + high, low, Math.fma(high, high, -product)));
    }

    DoubleFloat dividedBy(DoubleFloat divisor) {
        float reciprocal = 1f / divisor.high;
        float quotient = high * reciprocal;
        float rest = Math.fma(reciprocal, high, -quotient);
        float correction = Math.fma(-divisor.low, reciprocal, Math.fma(-divisor.high, reciprocal, 1f));
        return new DoubleFloat(quotient, Math.fma(quotient, correction, Math.fma(low, reciprocal, rest)));
    }

    /// Exact for powers of two.
    DoubleFloat scaled(float power) {
        return new DoubleFloat(high * power, low * power);
    }

    /// The same value with `low` below half a unit of `high`.
    DoubleFloat normalized() {
        float sum = high + low;
        return new DoubleFloat(sum, high - sum + low);
    }
}
