package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RotaryPairsTest extends KernelTest {
    private Matrix ids(int rows) {
        Matrix ids = Matrix.allocate(arena, rows, 3);
        for (int row = 0; row < rows; row++) {
            ids.set(row, 1, row / 4f);
            ids.set(row, 2, row % 7);
        }
        return ids;
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 6, 8, 28})
    void matchesComplexRotationAndItsInverse(int axis) {
        int[] axes = {2, axis, axis};
        int dim = 2 + 2 * axis;
        int rows = 9;
        Matrix ids = ids(rows);
        Matrix x = Numbers.random(arena, random, rows, 3 * dim);
        Matrix y = Numbers.copy(arena, x);
        RotaryPairs table = new RotaryPairs(10_000, ids, axes);
        table.apply(compute, y, false);
        double[] expected = new double[rows * 3 * dim];
        for (int row = 0; row < rows; row++) {
            for (int head = 0; head < 3; head++) {
                int at = head * dim;
                for (int a = 0; a < 3; a++) {
                    for (int i = 0; i < axes[a]; i += 2, at += 2) {
                        double angle = ids.get(row, a) * Math.pow(10_000, -(double) i / axes[a]);
                        double re = x.get(row, at);
                        double im = x.get(row, at + 1);
                        expected[row * 3 * dim + at] = re * Math.cos(angle) - im * Math.sin(angle);
                        expected[row * 3 * dim + at + 1] = im * Math.cos(angle) + re * Math.sin(angle);
                    }
                }
            }
        }
        Numbers.assertClose(y, expected, 1e-6);
        table.apply(compute, y, true);
        Numbers.assertClose(y, x, 1e-6);
    }

    @Test
    void tiersAgreeInEveryBit() {
        int dim = 34;
        Matrix scalar = Numbers.random(arena, random, 3, 2 * dim);
        Matrix vector = Numbers.copy(arena, scalar);
        float[] cosines = new float[3 * dim];
        float[] sines = new float[3 * dim];
        for (int i = 0; i < cosines.length; i++) {
            cosines[i] = (float) Math.cos(i & ~1);
            sines[i] = (float) Math.sin(i & ~1) * (i % 2 == 0 ? -1 : 1);
        }
        new RotaryPairsScalar().rotate(scalar, dim, cosines, sines, true, 0, 3);
        new RotaryPairsVector().rotate(vector, dim, cosines, sines, true, 0, 3);
        Numbers.assertSameBits(vector, scalar);
    }

    @Test
    void refusesIdsAndRowsThatDoNotFit() {
        assertThatThrownBy(() -> new RotaryPairs(10_000, ids(4), 4, 4))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("ids");
        RotaryPairs table = new RotaryPairs(10_000, ids(4), 4, 4, 8);
        Matrix x = Numbers.random(arena, random, 5, 16);
        assertThatThrownBy(() -> table.apply(compute, x, false)).isInstanceOf(IllegalArgumentException.class);
    }
}
