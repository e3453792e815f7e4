package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class ExpTest {
    /// A prime, so that all parts of the range of bit patterns are met: about a million floats.
    private static final int STRIDE = 4093;

    @Test
    void isWithinOneUlpOfTheTrueValue() {
        double worst = 0;
        for (long bits = Integer.MIN_VALUE; bits <= Integer.MAX_VALUE; bits += STRIDE) {
            float x = Float.intBitsToFloat((int) bits);
            double truth = Math.exp(x);
            if (x >= Exp.LOWEST && x <= Exp.HIGHEST) {
                double error = Math.abs(Exp.exp(x) - truth) / Math.ulp((float) truth);
                worst = Math.max(worst, error);
            }
        }
        assertThat(worst).isLessThan(1);
    }

    @Test
    void meetsTheEdges() {
        assertThat(Exp.exp(0)).isEqualTo(1);
        assertThat(Exp.exp(-0f)).isEqualTo(1);
        assertThat(Exp.exp(Float.NEGATIVE_INFINITY)).isZero();
        assertThat(Exp.exp(-88)).isZero();
        assertThat(Exp.exp(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(Exp.exp(88.8f)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(Exp.exp(Exp.HIGHEST)).isFinite();
        assertThat(Exp.exp(Exp.LOWEST)).isGreaterThanOrEqualTo(Float.MIN_NORMAL);
        assertThat(Exp.exp(Float.NaN)).isNaN();
    }

    @Test
    void vectorsHaveTheSameBits() {
        float[] x = new float[Lanes.LENGTH];
        float[] exponentials = new float[Lanes.LENGTH];
        float[] sigmoids = new float[2 * Lanes.LENGTH];
        float[] zero = new float[Lanes.LENGTH];
        long bits = Integer.MIN_VALUE;
        while (bits <= Integer.MAX_VALUE) {
            for (int lane = 0; lane < x.length; lane++) {
                x[lane] = Float.intBitsToFloat((int) Math.min(bits, Integer.MAX_VALUE));
                exponentials[lane] = Math.min(x[lane], Exp.SAFE);
                sigmoids[lane] = x[lane];
                bits += STRIDE;
            }
            ExpVector.exponentials(exponentials, 0, Lanes.LENGTH, 1, zero, 0);
            ExpVector.sigmoids(sigmoids, 0, Lanes.LENGTH, Lanes.LENGTH);
            for (int lane = 0; lane < x.length; lane++) {
                same(exponentials[lane], Exp.exp(Math.min(x[lane], Exp.SAFE)), x[lane]);
                same(sigmoids[Lanes.LENGTH + lane], Exp.sigmoid(x[lane]), x[lane]);
            }
        }
    }

    private static void same(float actual, float expected, float x) {
        if (Float.floatToIntBits(actual) != Float.floatToIntBits(expected)) {
            assertThat(actual).as("at %s", x).isEqualTo(expected);
        }
    }
}
