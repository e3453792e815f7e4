package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GeluTest extends KernelTest {
    private static double[] oracle(double[] x) {
        double[] y = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            double u = Math.sqrt(2 / Math.PI) * (x[i] + 0.044715 * x[i] * x[i] * x[i]);
            y[i] = 0.5 * x[i] * (1 + Math.tanh(u));
        }
        return y;
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "2, 16", "5, 17", "4, 33", "3, 131"})
    void matchesTheDoubleOracleAndTheTiersAgreeInEveryBit(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        for (int row = 0; row < rows; row++) {
            x.set(row, row % n, 12f * (row - 1));
        }
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix y = Numbers.poisoned(arena, rows, n);
        Matrix gradX = Numbers.poisoned(arena, rows, n);
        Gelu.forward(compute, x, y);
        Gelu.backward(compute, x, gradY, gradX);
        double[] gs = Numbers.doubles(gradY);
        Numbers.assertClose(y, oracle(Numbers.doubles(x)), 1e-6);
        Numbers.assertClose(gradX, Numbers.gradient(p -> Numbers.inner(gs, oracle(p)), Numbers.doubles(x)), 1e-5);
        GeluKernel scalar = new GeluScalar();
        GeluKernel vector = new GeluVector();
        Matrix other = Numbers.poisoned(arena, rows, n);
        scalar.forward(x, y, new float[GeluKernel.SCRATCH], 0, rows);
        vector.forward(x, other, new float[GeluKernel.SCRATCH], 0, rows);
        Numbers.assertSameBits(other, y);
        scalar.backward(x, gradY, gradX, new float[GeluKernel.SCRATCH], 0, rows);
        vector.backward(x, gradY, other, new float[GeluKernel.SCRATCH], 0, rows);
        Numbers.assertSameBits(other, gradX);
    }
}
