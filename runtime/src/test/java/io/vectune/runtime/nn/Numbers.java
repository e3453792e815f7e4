package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.Random;
import java.util.function.ToDoubleFunction;

/// Random matrices, oracles' arrays and comparisons for the tests of this package.
final class Numbers {
    private Numbers() {}

    /// Normally distributed elements, in a view whose rows have a gap of three elements.
    static Matrix random(Arena arena, Random random, int rows, int columns) {
        Matrix wide = Matrix.allocate(arena, rows, columns + 3);
        Matrix matrix = wide.columns(0, columns);
        wide.fill(Float.NaN);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextGaussian());
            }
        }
        return matrix;
    }

    /// A matrix of NaN, to see that a result is overwritten.
    static Matrix poisoned(Arena arena, int rows, int columns) {
        Matrix matrix = Matrix.allocate(arena, rows, columns + 5).columns(0, columns);
        matrix.fill(Float.NaN);
        return matrix;
    }

    static Matrix copy(Arena arena, Matrix matrix) {
        return Matrix.copyOf(arena, matrix.rows(), matrix.columns(), matrix.toArray());
    }

    static double[] doubles(Matrix matrix) {
        float[] values = matrix.toArray();
        double[] wide = new double[values.length];
        for (int i = 0; i < wide.length; i++) {
            wide[i] = values[i];
        }
        return wide;
    }

    static double[] flat(double[]... parts) {
        int length = 0;
        for (double[] part : parts) {
            length += part.length;
        }
        double[] all = new double[length];
        int at = 0;
        for (double[] part : parts) {
            System.arraycopy(part, 0, all, at, part.length);
            at += part.length;
        }
        return all;
    }

    static double inner(double[] a, double[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += a[i] * b[i];
        }
        return sum;
    }

    /// Central differences of a function in double.
    static double[] gradient(ToDoubleFunction<double[]> function, double[] at) {
        double step = 1e-5;
        double[] gradient = new double[at.length];
        for (int i = 0; i < at.length; i++) {
            double value = at[i];
            at[i] = value + step;
            double above = function.applyAsDouble(at);
            at[i] = value - step;
            double below = function.applyAsDouble(at);
            at[i] = value;
            gradient[i] = (above - below) / (2 * step);
        }
        return gradient;
    }

    /// Every element within `tolerance` times the largest magnitude of the expected ones.
    static void assertClose(Matrix actual, double[] expected, double tolerance) {
        double[] found = doubles(actual);
        assertThat(found).hasSameSizeAs(expected);
        double largest = 0;
        for (double value : expected) {
            largest = Math.max(largest, Math.abs(value));
        }
        for (int i = 0; i < found.length; i++) {
            double error = Math.abs(found[i] - expected[i]);
            if (!(error <= tolerance * largest)) {
                assertThat(found[i])
                        .as(
                                "element (%d, %d) of (%d, %d), error %g of %g",
                                i / actual.columns(),
                                i % actual.columns(),
                                actual.rows(),
                                actual.columns(),
                                error,
                                tolerance * largest)
                        .isEqualTo(expected[i]);
            }
        }
    }

    static void assertClose(Matrix actual, Matrix expected, double tolerance) {
        assertClose(actual, doubles(expected), tolerance);
    }

    static int[] bits(Matrix matrix) {
        float[] values = matrix.toArray();
        int[] bits = new int[values.length];
        for (int i = 0; i < bits.length; i++) {
            bits[i] = Float.floatToRawIntBits(values[i]);
        }
        return bits;
    }

    static void assertSameBits(Matrix actual, Matrix expected) {
        assertThat(bits(actual)).isEqualTo(bits(expected));
    }
}
