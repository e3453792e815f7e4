package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;

import jdk.incubator.vector.FloatVector;
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
        float[] full = new float[Lanes.LENGTH];
        float[] negative = new float[Lanes.LENGTH];
        float[] sigmoid = new float[Lanes.LENGTH];
        long bits = Integer.MIN_VALUE;
        while (bits <= Integer.MAX_VALUE) {
            for (int lane = 0; lane < x.length; lane++) {
                x[lane] = Float.intBitsToFloat((int) Math.min(bits, Integer.MAX_VALUE));
                bits += STRIDE;
            }
            FloatVector vector = FloatVector.fromArray(Lanes.SPECIES, x, 0);
            ExpVector.exp(vector).intoArray(full, 0);
            ExpVector.expNegative(vector).intoArray(negative, 0);
            ExpVector.sigmoid(vector).intoArray(sigmoid, 0);
            for (int lane = 0; lane < x.length; lane++) {
                float expected = Exp.exp(x[lane]);
                same(full[lane], expected, x[lane]);
                same(sigmoid[lane], Exp.sigmoid(x[lane]), x[lane]);
                if (x[lane] <= Exp.HIGHEST) {
                    same(negative[lane], expected, x[lane]);
                }
            }
        }
    }

    private static void same(float actual, float expected, float x) {
        if (Float.floatToIntBits(actual) != Float.floatToIntBits(expected)) {
            assertThat(actual).as("at %s", x).isEqualTo(expected);
        }
    }
}
