package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ElementwiseTest extends KernelTest {
    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "2, 16", "5, 17", "300, 64", "70, 1021"})
    void matchesTheFormulas(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix bias = Numbers.random(arena, random, 1, n);
        Matrix y = Numbers.random(arena, random, rows, n);
        double[] xs = Numbers.doubles(x);
        double[] expected = Numbers.doubles(y);
        double[] biases = Numbers.doubles(bias);
        Elementwise.addScaled(compute, 0.25f, x, y);
        Elementwise.addBias(compute, bias, y);
        Elementwise.scale(compute, -3, y);
        Elementwise.add(compute, x, y);
        double[] sums = biases.clone();
        double squares = 0;
        for (int i = 0; i < expected.length; i++) {
            expected[i] = (expected[i] + 0.25 * xs[i] + biases[i % n]) * -3 + xs[i];
            sums[i % n] += xs[i];
            squares += xs[i] * xs[i];
        }
        Numbers.assertClose(y, expected, 1e-6);
        Elementwise.addColumnSums(compute, x, bias);
        Numbers.assertClose(bias, sums, 1e-5);
        assertThat(Elementwise.sumOfSquares(x)).isCloseTo(squares, within(1e-12 * squares));
        assertThat(Elementwise.norm(List.of(x, x))).isCloseTo(Math.sqrt(2 * squares), within(1e-12 * squares));
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "5, 17", "9, 63", "70, 1021"})
    void vectorKernelMatchesTheScalarOne(int rows, int n) {
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix bias = Numbers.random(arena, random, 1, n);
        Matrix scalarY = Numbers.random(arena, random, rows, n);
        Matrix vectorY = Numbers.copy(arena, scalarY);
        Matrix scalarSums = Matrix.allocate(arena, 1, n);
        Matrix vectorSums = Matrix.allocate(arena, 1, n);
        run(new ElementwiseScalar(), x, bias, scalarY, scalarSums);
        run(new ElementwiseVector(), x, bias, vectorY, vectorSums);
        Numbers.assertSameBits(vectorY, scalarY);
        Numbers.assertSameBits(vectorSums, scalarSums);
        double squares = new ElementwiseScalar().sumOfSquares(x);
        assertThat(new ElementwiseVector().sumOfSquares(x)).isCloseTo(squares, within(1e-13 * squares));
    }

    private static void run(ElementwiseKernel kernel, Matrix x, Matrix bias, Matrix y, Matrix sums) {
        kernel.addScaled(0.7f, x, y, 0, y.rows());
        kernel.addBias(bias, y, 0, y.rows());
        kernel.scale(1.1f, y, 0, y.rows());
        kernel.addColumnSums(x, sums, 0, x.columns());
    }

    @Test
    void bitsDoNotDependOnThreads() {
        Matrix x = Numbers.random(arena, random, 333, 577);
        Matrix sums = Matrix.allocate(arena, 1, 577);
        Matrix sumsAlone = Matrix.allocate(arena, 1, 577);
        Elementwise.addColumnSums(compute, x, sums);
        Elementwise.addColumnSums(single, x, sumsAlone);
        Numbers.assertSameBits(sums, sumsAlone);
    }

    @Test
    void refusesOtherShapes() {
        assertThatThrownBy(() -> Elementwise.add(compute, Matrix.allocate(arena, 2, 3), Matrix.allocate(arena, 2, 4)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("x: expected a matrix (2, 4), found (2, 3)");
    }
}
