package io.vectune.runtime.nn;

import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SwiGluTest extends KernelTest {
    private static double[] oracle(double[] gate, double[] up) {
        double[] y = new double[gate.length];
        for (int i = 0; i < y.length; i++) {
            y[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
        }
        return y;
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "2, 16", "5, 17", "300, 64", "7, 1021"})
    void matchesTheDoubleOracleAndItsDifferences(int rows, int n) {
        Matrix gate = Numbers.random(arena, random, rows, n);
        Matrix up = Numbers.random(arena, random, rows, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Elementwise.scale(compute, 3, gate);
        Matrix y = Numbers.poisoned(arena, rows, n);
        Matrix gradGate = Numbers.poisoned(arena, rows, n);
        Matrix gradUp = Numbers.poisoned(arena, rows, n);
        SwiGlu.forward(compute, gate, up, y);
        SwiGlu.backward(compute, gate, up, gradY, gradGate, gradUp);
        double[] gates = Numbers.doubles(gate);
        double[] ups = Numbers.doubles(up);
        double[] grads = Numbers.doubles(gradY);
        Numbers.assertClose(y, oracle(gates, ups), 1e-6);
        // Elements do not interact: the difference quotient of all at once.
        double step = 1e-5;
        double[] byGate = new double[gates.length];
        double[] byUp = new double[gates.length];
        double[] above = oracle(shifted(gates, step), ups);
        double[] below = oracle(shifted(gates, -step), ups);
        double[] unit = oracle(gates, shifted(new double[ups.length], 1));
        for (int i = 0; i < gates.length; i++) {
            byGate[i] = grads[i] * (above[i] - below[i]) / (2 * step);
            byUp[i] = grads[i] * unit[i];
        }
        Numbers.assertClose(gradGate, byGate, 1e-6);
        Numbers.assertClose(gradUp, byUp, 1e-6);
    }

    private static double[] shifted(double[] values, double by) {
        double[] shifted = values.clone();
        for (int i = 0; i < shifted.length; i++) {
            shifted[i] += by;
        }
        return shifted;
    }

    @ParameterizedTest
    @CsvSource({"1, 1", "3, 15", "2, 16", "5, 17", "4, 63", "2, 1021"})
    void vectorKernelHasTheBitsOfTheScalarOne(int rows, int n) {
        Matrix gate = Numbers.random(arena, random, rows, n);
        Elementwise.scale(compute, 40, gate);
        Matrix up = Numbers.random(arena, random, rows, n);
        Matrix gradY = Numbers.random(arena, random, rows, n);
        Matrix[][] results = new Matrix[2][];
        for (int tier = 0; tier < 2; tier++) {
            SwiGluKernel kernel = tier == 0 ? new SwiGluScalar() : new SwiGluVector();
            Matrix y = Numbers.poisoned(arena, rows, n);
            Matrix gradGate = Numbers.poisoned(arena, rows, n);
            Matrix gradUp = Numbers.poisoned(arena, rows, n);
            kernel.forward(gate, up, y, new float[SwiGluKernel.SCRATCH], 0, rows);
            kernel.backward(gate, up, gradY, gradGate, gradUp, new float[SwiGluKernel.SCRATCH], 0, rows);
            results[tier] = new Matrix[] {y, gradGate, gradUp};
        }
        for (int i = 0; i < results[0].length; i++) {
            Numbers.assertSameBits(results[1][i], results[0][i]);
        }
    }

    @Test
    void mayWorkInPlace() {
        Matrix gate = Numbers.random(arena, random, 9, 50);
        Matrix up = Numbers.random(arena, random, 9, 50);
        Matrix gradY = Numbers.random(arena, random, 9, 50);
        Matrix gradGate = Numbers.poisoned(arena, 9, 50);
        Matrix gradUp = Numbers.poisoned(arena, 9, 50);
        SwiGlu.backward(compute, gate, up, gradY, gradGate, gradUp);
        SwiGlu.backward(compute, gate, up, gradY, gate, up);
        Numbers.assertSameBits(gate, gradGate);
        Numbers.assertSameBits(up, gradUp);
    }
}
