package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.tensor.Matrix;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OptimizerTest extends KernelTest {
    private static final float[] START = {0.5f, -1.25f, 2, 0.001f, -3};
    private static final float[][] GRADIENTS = {
        {0.1f, -0.2f, 0.3f, 1e-6f, -4}, {0.3f, 0.1f, -0.7f, 2e-6f, 1}, {-0.2f, 0.05f, 0.1f, -3e-6f, 2.5f}
    };

    /// torch 2.15.0, three steps from START with GRADIENTS: AdamW(lr=0.01, weight_decay=0.1).
    private static final float[] ADAM_W = {0.47677386f, -1.2329991f, 1.990612f, -0.01780285f, -2.9765513f};

    /// SGD(lr=0.05, weight_decay=0.1).
    private static final float[] SGD = {0.48266232f, -1.2289183f, 1.9851243f, 0.000985076f, -2.93197f};

    /// SGD(lr=0.05, momentum=0.9, weight_decay=0.1).
    private static final float[] MOMENTUM = {0.45415482f, -1.200152f, 1.9650993f, 0.0009718959f, -2.5977547f};

    @Test
    void adamWFollowsTorch() {
        Matrix parameter = Matrix.copyOf(arena, 1, 5, START);
        Matrix firstMoment = Matrix.allocate(arena, 1, 5);
        Matrix secondMoment = Matrix.allocate(arena, 1, 5);
        for (int step = 1; step <= 3; step++) {
            Matrix gradient = Matrix.copyOf(arena, 1, 5, GRADIENTS[step - 1]);
            AdamW.withDefaults(0.1).step(compute, step, 0.01, parameter, gradient, firstMoment, secondMoment);
        }
        withinTwoUlps(parameter, ADAM_W);
    }

    @Test
    void sgdFollowsTorch() {
        Matrix parameter = Matrix.copyOf(arena, 1, 5, START);
        Matrix withMomentum = Matrix.copyOf(arena, 1, 5, START);
        Matrix momentumBuffer = Matrix.allocate(arena, 1, 5);
        for (int step = 1; step <= 3; step++) {
            Matrix gradient = Matrix.copyOf(arena, 1, 5, GRADIENTS[step - 1]);
            new Sgd(0, 0.1).step(compute, step, 0.05, parameter, gradient, null);
            new Sgd(0.9, 0.1).step(compute, step, 0.05, withMomentum, gradient, momentumBuffer);
        }
        withinTwoUlps(parameter, SGD);
        withinTwoUlps(withMomentum, MOMENTUM);
    }

    private static void withinTwoUlps(Matrix found, float[] expected) {
        for (int i = 0; i < expected.length; i++) {
            assertThat(Math.abs(found.get(0, i) - expected[i]))
                    .as("parameter %d", i)
                    .isLessThanOrEqualTo(2 * Math.ulp(expected[i]));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 15, 16, 17, 63, 1021})
    void vectorKernelHasTheBitsOfTheScalarOne(int columns) {
        Matrix gradient = Numbers.random(arena, random, 3, columns);
        Matrix[][] states = new Matrix[2][4];
        for (int i = 0; i < 4; i++) {
            states[0][i] = Numbers.random(arena, random, 3, columns);
        }
        for (int column = 0; column < columns; column++) {
            for (int row = 0; row < 3; row++) {
                states[0][2].set(row, column, Math.abs(states[0][2].get(row, column)));
            }
        }
        for (int i = 0; i < 4; i++) {
            states[1][i] = Numbers.copy(arena, states[0][i]);
        }
        for (int tier = 0; tier < 2; tier++) {
            OptimizerKernel kernel = tier == 0 ? new OptimizerScalar() : new OptimizerVector();
            Matrix[] state = states[tier];
            kernel.adamW(
                    state[0], gradient, state[1], state[2], 0.99f, 0.1f, 0.999f, 0.001f, 0.3f, 1e-8f, -0.01f, 0, 3);
            kernel.sgd(state[0], gradient, state[3], 0.9f, 0.01f, -0.1f, 0, 3);
            kernel.sgd(state[0], gradient, null, 0, 0.01f, -0.1f, 0, 3);
        }
        for (int i = 0; i < 4; i++) {
            Numbers.assertSameBits(states[1][i], states[0][i]);
        }
    }

    @Test
    void refusesAMomentumBufferWithoutMomentum() {
        Matrix matrix = Matrix.allocate(arena, 1, 5);
        assertThatThrownBy(() -> new Sgd(0, 0).step(compute, 1, 0.1, matrix, matrix, matrix))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("momentumBuffer");
        assertThatThrownBy(() -> AdamW.withDefaults(0).step(compute, 0, 0.1, matrix, matrix, matrix, matrix))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("step: expected at least 1, found 0");
    }
}
