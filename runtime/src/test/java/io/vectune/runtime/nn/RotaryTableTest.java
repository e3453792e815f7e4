package io.vectune.runtime.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.tensor.Matrix;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RotaryTableTest extends KernelTest {
    /// transformers 5.23.0 with torch 2.15.0, rope_type default, rope_theta 10000, head_dim 64.
    private static final float[] DEFAULT_10000 = {
        1.0f, 0.7498942f, 0.56234133f, 0.4216965f, 0.31622776f, 0.23713736f, 0.17782794f, 0.13335215f,
        0.1f, 0.074989416f, 0.05623413f, 0.04216965f, 0.03162278f, 0.023713736f, 0.017782794f, 0.013335215f,
        0.01f, 0.0074989423f, 0.0056234132f, 0.004216965f, 0.0031622779f, 0.0023713738f, 0.0017782794f, 0.0013335214f,
        0.001f, 0.0007498942f, 0.0005623413f, 0.0004216965f, 0.0003162278f, 0.00023713738f, 0.00017782794f,
                0.00013335215f
    };

    /// transformers 5.23.0 with torch 2.15.0, rope_type llama3, rope_theta 500000, head_dim 64, factor 32,
    /// low_freq_factor 1, high_freq_factor 4, original_max_position_embeddings 8192 (Llama 3.2).
    private static final float[] LLAMA3_2 = {
        1.0f, 0.6636013f, 0.44036663f, 0.29222783f, 0.19392276f, 0.12868738f, 0.0853971f, 0.05666962f,
        0.03760603f, 0.024955409f, 0.01656044f, 0.010989529f, 0.007292665f, 0.0048394212f, 0.003211446f, 0.001290548f,
        0.0004295567f, 9.708286e-05f, 1.9461639e-05f, 1.29147675e-05f, 8.570256e-06f, 5.6872323e-06f, 3.7740544e-06f,
                2.5044671e-06f,
        1.6619674e-06f, 1.1028836e-06f, 7.3187493e-07f, 4.856731e-07f, 3.222933e-07f, 2.1387423e-07f, 1.419272e-07f,
                9.4183065e-08f
    };

    @Test
    void frequenciesAreThoseOfTransformers() {
        assertThat(new RotaryTable(10_000, 64, 1, new RotaryScaling.None()).frequencies())
                .satisfies(found -> withinOneUlp(found, DEFAULT_10000));
        assertThat(new RotaryTable(500_000, 64, 1, new RotaryScaling.Llama3(32, 1, 4, 8192)).frequencies())
                .satisfies(found -> withinOneUlp(found, LLAMA3_2));
        float[] halved = new RotaryTable(10_000, 64, 1, new RotaryScaling.Linear(2)).frequencies();
        for (int i = 0; i < halved.length; i++) {
            halved[i] *= 2;
        }
        assertThat(halved).satisfies(found -> withinOneUlp(found, DEFAULT_10000));
    }

    private static void withinOneUlp(float[] found, float[] expected) {
        assertThat(found).hasSameSizeAs(expected);
        for (int i = 0; i < found.length; i++) {
            assertThat(Math.abs(found[i] - expected[i]))
                    .as("frequency %d", i)
                    .isLessThanOrEqualTo(Math.ulp(expected[i]));
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 6, 32, 64, 80, 96, 128})
    void rotatesAsTheFormulaAndBack(int headDim) {
        int tokens = 37;
        int heads = 3;
        RotaryTable table = new RotaryTable(10_000, headDim, 200, new RotaryScaling.None());
        Matrix x = Numbers.random(arena, random, tokens, heads * headDim);
        Matrix original = Numbers.copy(arena, x);
        int[] positions = IntStream.range(0, tokens).map(t -> (t * 53) % 200).toArray();
        table.apply(compute, x, positions, false);
        double[] before = Numbers.doubles(original);
        double[] expected = new double[before.length];
        float[] frequencies = table.frequencies();
        int half = headDim / 2;
        for (int token = 0; token < tokens; token++) {
            for (int head = 0; head < heads; head++) {
                int at = (token * heads + head) * headDim;
                for (int i = 0; i < half; i++) {
                    double angle = positions[token] * frequencies[i];
                    expected[at + i] = before[at + i] * Math.cos(angle) - before[at + half + i] * Math.sin(angle);
                    expected[at + half + i] =
                            before[at + half + i] * Math.cos(angle) + before[at + i] * Math.sin(angle);
                }
            }
        }
        Numbers.assertClose(x, expected, 1e-6);
        table.apply(compute, x, positions, true);
        Numbers.assertClose(x, original, 1e-6);
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 6, 34, 64, 80})
    void vectorKernelHasTheBitsOfTheScalarOne(int headDim) {
        float[] cosines = new float[5 * headDim / 2];
        float[] sines = new float[cosines.length];
        for (int i = 0; i < cosines.length; i++) {
            cosines[i] = (float) Math.cos(i);
            sines[i] = (float) Math.sin(i);
        }
        int[] positions = {4, 0, 3};
        Matrix scalar = Numbers.random(arena, random, 3, 2 * headDim);
        Matrix vector = Numbers.copy(arena, scalar);
        for (boolean inverse : new boolean[] {false, true, true}) {
            new RotaryScalar().rotate(scalar, headDim, cosines, sines, positions, inverse, 0, 3);
            new RotaryVector().rotate(vector, headDim, cosines, sines, positions, inverse, 0, 3);
        }
        Numbers.assertSameBits(vector, scalar);
    }

    @Test
    void refusesPositionsOutsideTheTable() {
        RotaryTable table = new RotaryTable(10_000, 4, 8, new RotaryScaling.None());
        Matrix x = Matrix.allocate(arena, 2, 4);
        assertThatThrownBy(() -> table.apply(compute, x, new int[] {7, 8}, false))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("tokenPositions[1]: expected 0 to 7, found 8");
    }

    @Test
    void refusesScalingsWithoutMeaning() {
        assertThatThrownBy(() -> new RotaryScaling.Llama3(8, 4, 4, 8192))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("high_freq_factor");
        assertThatThrownBy(() -> new RotaryScaling.Linear(0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("factor: expected a positive number, found 0");
    }
}
