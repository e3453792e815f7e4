package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RmsNormTest extends KernelTest {
    private static final float EPS = 1e-5f;

    private static double[] oracle(double[] x, double[] weight) {
        int n = weight.length;
        double[] y = new double[x.length];
        for (int row = 0; row < x.length / n; row++) {
            double sum = 0;
            for (int i = 0; i < n; i++) {
                sum += x[row * n + i] * x[row * n + i];
            }
            double inverse = 1 / Math.sqrt(sum / n + EPS);
            for (int i = 0; i < n; i++) {
                y[row * n + i] = weight[i] * x[row * n + i] * inverse;
            }
        }
        return y;
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "2, 16", "5, 17", "4, 33", "300, 64", "7, 576", "33, 1021"})
    void matchesTheDoubleOracleAndItsDifferences(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix weight = Numbers.random(arena, random, 1, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix y = Numbers.poisoned(arena, rows, n);
        Matrix inverseRms = Numbers.poisoned(arena, rows, 1);
        RmsNorm.forward(compute, x, weight, EPS, y, inverseRms);
        double[] xs = Numbers.doubles(x);
        double[] ws = Numbers.doubles(weight);
        double[] gs = Numbers.doubles(gradY);
        Numbers.assertClose(y, oracle(xs, ws), 1e-6);

        Matrix gradX = Numbers.poisoned(arena, rows, n);
        Matrix gradWeight = Matrix.allocate(arena, 1, n);
        RmsNorm.backward(compute, x, weight, inverseRms, gradY, gradX, false, gradWeight);
        // Of a single feature the gradient is a difference of nearly equal terms, without correct digits.
        if (n > 1 && rows * n <= 600) {
            Numbers.assertClose(gradX, Numbers.gradient(p -> Numbers.inner(gs, oracle(p, ws)), xs), 1e-5);
            Numbers.assertClose(gradWeight, Numbers.gradient(p -> Numbers.inner(gs, oracle(xs, p)), ws), 1e-5);
        }
        Matrix twice = Numbers.copy(arena, gradX);
        RmsNorm.backward(compute, x, weight, inverseRms, gradY, twice, true, null);
        double[] doubled = Numbers.doubles(gradX);
        for (int i = 0; i < doubled.length; i++) {
            doubled[i] *= 2;
        }
        Numbers.assertClose(twice, doubled, 1e-7);
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "5, 17", "4, 31", "2, 65", "7, 576", "33, 1021"})
    void vectorKernelMatchesTheScalarOne(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix weight = Numbers.random(arena, random, 1, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix[][] results = new Matrix[2][];
        for (int tier = 0; tier < 2; tier++) {
            RmsNormKernel kernel = tier == 0 ? new RmsNormScalar() : new RmsNormVector();
            Matrix y = Numbers.poisoned(arena, rows, n);
            Matrix inverseRms = Numbers.poisoned(arena, rows, 1);
            Matrix gradX = Numbers.poisoned(arena, rows, n);
            Matrix gradWeight = Matrix.allocate(arena, 1, n);
            kernel.forward(x, weight, EPS, y, inverseRms, new float[RmsNormKernel.LANES], 0, rows);
            kernel.backward(x, weight, inverseRms, gradY, gradX, false, new float[RmsNormKernel.LANES], 0, rows);
            kernel.gradWeight(x, inverseRms, gradY, gradWeight, 0, n);
            results[tier] = new Matrix[] {y, inverseRms, gradX, gradWeight};
        }
        for (int i = 0; i < results[0].length; i++) {
            Numbers.assertClose(results[1][i], results[0][i], 2e-6);
        }
    }

    @Test
    void bitsDoNotDependOnThreads() {
        int rows = 257;
        int n = 576;
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix weight = Numbers.random(arena, random, 1, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix[][] results = new Matrix[2][];
        for (int threads = 0; threads < 2; threads++) {
            Compute with = threads == 0 ? single : compute;
            Matrix y = Numbers.poisoned(arena, rows, n);
            Matrix inverseRms = Numbers.poisoned(arena, rows, 1);
            Matrix gradX = Numbers.poisoned(arena, rows, n);
            Matrix gradWeight = Matrix.allocate(arena, 1, n);
            for (int run = 0; run <= 20 * threads; run++) {
                RmsNorm.forward(with, x, weight, EPS, y, inverseRms);
            }
            RmsNorm.backward(with, x, weight, inverseRms, gradY, gradX, false, gradWeight);
            results[threads] = new Matrix[] {y, inverseRms, gradX, gradWeight};
        }
        for (int i = 0; i < results[0].length; i++) {
            Numbers.assertSameBits(results[1][i], results[0][i]);
        }
    }
}
