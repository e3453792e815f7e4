package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RowGateTest extends KernelTest {
    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "2, 16", "5, 17", "40, 33", "300, 131"})
    void matchesTheFormulaAndTheTiersAgreeInEveryBit(int rows, int n) {
        Matrix gate = Numbers.random(arena, random, 1, n);
        Matrix x = Numbers.random(arena, random, rows, n);
        Matrix residual = Numbers.random(arena, random, rows, n);
        Matrix sum = Numbers.poisoned(arena, rows, n);
        Matrix product = Numbers.poisoned(arena, rows, n);
        Matrix sums = Matrix.allocate(arena, 1, n);
        sums.fill(1);
        RowGate.add(compute, gate, x, residual, sum);
        RowGate.multiply(compute, gate, x, product);
        RowGate.addColumnProducts(compute, x, residual, sums);
        double[] expectedSum = new double[rows * n];
        double[] expectedProduct = new double[rows * n];
        double[] expectedSums = new double[n];
        for (int column = 0; column < n; column++) {
            expectedSums[column] = 1;
            for (int row = 0; row < rows; row++) {
                double value = (double) gate.get(0, column) * x.get(row, column);
                expectedProduct[row * n + column] = value;
                expectedSum[row * n + column] = value + residual.get(row, column);
                expectedSums[column] += (double) x.get(row, column) * residual.get(row, column);
            }
        }
        Numbers.assertClose(sum, expectedSum, 1e-7);
        Numbers.assertClose(product, expectedProduct, 1e-7);
        Numbers.assertClose(sums, expectedSums, 1e-5);

        RowGateKernel scalar = new RowGateScalar();
        Matrix other = Numbers.poisoned(arena, rows, n);
        scalar.add(gate, x, residual, other, 0, rows);
        Numbers.assertSameBits(sum, other);
        scalar.multiply(gate, x, other, 0, rows);
        Numbers.assertSameBits(product, other);
        Matrix otherSums = Matrix.allocate(arena, 1, n);
        otherSums.fill(1);
        scalar.addColumnProducts(x, residual, otherSums, 0, n);
        Numbers.assertSameBits(sums, otherSums);
    }
}
