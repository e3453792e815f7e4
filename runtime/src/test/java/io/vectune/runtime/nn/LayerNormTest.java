package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LayerNormTest extends KernelTest {
    private static final float EPS = 1e-6f;

    private static double[] oracle(double[] x, double[] weight, double[] bias) {
        int n = weight.length;
        double[] y = new double[x.length];
        for (int row = 0; row < x.length / n; row++) {
            double mean = 0;
            for (int i = 0; i < n; i++) {
                mean += x[row * n + i] / n;
            }
            double variance = 0;
            for (int i = 0; i < n; i++) {
                variance += (x[row * n + i] - mean) * (x[row * n + i] - mean) / n;
            }
            for (int i = 0; i < n; i++) {
                y[row * n + i] = weight[i] * (x[row * n + i] - mean) / Math.sqrt(variance + EPS) + bias[i];
            }
        }
        return y;
    }

    @ParameterizedTest
    @CsvSource({"3, 15", "2, 16", "5, 17", "4, 33", "7, 81", "33, 1021"})
    void matchesTheDoubleOracleAndItsDifferences(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix weight = Numbers.random(arena, random, 1, n);
        Matrix bias = Numbers.random(arena, random, 1, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix y = Numbers.poisoned(arena, rows, n);
        Matrix statistics = Numbers.poisoned(arena, rows, 2);
        LayerNorm.forward(compute, x, weight, bias, EPS, y, statistics);
        double[] xs = Numbers.doubles(x);
        double[] ws = Numbers.doubles(weight);
        double[] bs = Numbers.doubles(bias);
        double[] gs = Numbers.doubles(gradY);
        Numbers.assertClose(y, oracle(xs, ws, bs), 1e-6);

        Matrix gradX = Numbers.poisoned(arena, rows, n);
        Matrix gradWeight = Matrix.allocate(arena, 1, n);
        Matrix gradBias = Matrix.allocate(arena, 1, n);
        LayerNorm.backward(compute, x, weight, statistics, gradY, gradX, false, gradWeight, gradBias);
        if (rows * n <= 600) {
            Numbers.assertClose(gradX, Numbers.gradient(p -> Numbers.inner(gs, oracle(p, ws, bs)), xs), 1e-5);
            Numbers.assertClose(gradWeight, Numbers.gradient(p -> Numbers.inner(gs, oracle(xs, p, bs)), ws), 1e-5);
            Numbers.assertClose(gradBias, Numbers.gradient(p -> Numbers.inner(gs, oracle(xs, ws, p)), bs), 1e-5);
        }
        Matrix twice = Numbers.copy(arena, gradX);
        LayerNorm.backward(compute, x, weight, statistics, gradY, twice, true, null, null);
        double[] doubled = Numbers.doubles(gradX);
        for (int i = 0; i < doubled.length; i++) {
            doubled[i] *= 2;
        }
        Numbers.assertClose(twice, doubled, 1e-7);
    }

    @ParameterizedTest
    @CsvSource({"3, 15", "5, 17", "4, 31", "2, 65", "7, 576", "33, 1021"})
    void vectorKernelMatchesTheScalarOne(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix weight = Numbers.random(arena, random, 1, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix[][] results = new Matrix[2][];
        for (int tier = 0; tier < 2; tier++) {
            LayerNormKernel kernel = tier == 0 ? new LayerNormScalar() : new LayerNormVector();
            Matrix y = Numbers.poisoned(arena, rows, n);
            Matrix statistics = Numbers.poisoned(arena, rows, 2);
            Matrix gradX = Numbers.poisoned(arena, rows, n);
            Matrix gradWeight = Matrix.allocate(arena, 1, n);
            kernel.forward(x, weight, weight, EPS, y, statistics, new float[LayerNormKernel.LANES], 0, rows);
            kernel.backward(x, weight, statistics, gradY, gradX, false, new float[LayerNormKernel.LANES], 0, rows);
            kernel.gradWeight(x, statistics, gradY, gradWeight, 0, n);
            results[tier] = new Matrix[] {y, statistics, gradX, gradWeight};
        }
        for (int i = 0; i < results[0].length; i++) {
            Numbers.assertClose(results[1][i], results[0][i], 2e-6);
        }
    }

    @Test
    void bitsDoNotDependOnThreads() {
        Matrix x = Numbers.random(arena, random, 257, 576);
        Matrix weight = Numbers.random(arena, random, 1, 576);
        Matrix gradY = Numbers.random(arena, random, 257, 576);
        Matrix[][] results = new Matrix[2][];
        for (int threads = 0; threads < 2; threads++) {
            Compute with = threads == 0 ? single : compute;
            Matrix y = Numbers.poisoned(arena, 257, 576);
            Matrix statistics = Numbers.poisoned(arena, 257, 2);
            Matrix gradX = Numbers.poisoned(arena, 257, 576);
            Matrix gradWeight = Matrix.allocate(arena, 1, 576);
            LayerNorm.forward(with, x, weight, weight, EPS, y, statistics);
            LayerNorm.backward(with, x, weight, statistics, gradY, gradX, false, gradWeight, null);
            results[threads] = new Matrix[] {y, statistics, gradX, gradWeight};
        }
        for (int i = 0; i < results[0].length; i++) {
            Numbers.assertSameBits(results[1][i], results[0][i]);
        }
    }
}
