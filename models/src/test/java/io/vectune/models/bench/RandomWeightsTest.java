package io.vectune.models.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.models.decoder.DecoderLayer;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RandomWeightsTest {
    private static final int OUT = 32;
    private static final int IN = 512;

    @ParameterizedTest
    @ValueSource(
            strings = {
                "f32", "bf16", "f16", "hqq8", "hqq6", "hqq5", "hqq4", "hqq3", "hqq2", "hqq1.58", "hqq1", "nf4",
                "nf4-nested", "fp4", "int8", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k",
                "q6_k"
            })
    void weightsAreOfSizeOneAndMultiply(String format) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Weight weight = RandomWeights.weight(compute, arena, format, OUT, IN);
            float[] decoded = new float[OUT * IN];
            weight.decode(0, OUT, 0, IN, decoded, 0, IN);
            float[] repeated = new float[OUT * IN];
            RandomWeights.weight(compute, arena, format, OUT, IN).decode(0, OUT, 0, IN, repeated, 0, IN);
            assertThat(decoded).isEqualTo(repeated);
            double squares = 0;
            for (float value : decoded) {
                squares += (double) value * value;
            }
            assertThat(Math.sqrt(squares / decoded.length)).isBetween(0.1, 6.0);

            Matrix x = RandomWeights.matrix(arena, 1, IN, 1);
            Matrix y = Matrix.allocate(arena, 1, OUT);
            MatMul.multiply(compute, weight, x, y, false);
            for (int o = 0; o < OUT; o++) {
                double sum = 0;
                double size = 0;
                for (int i = 0; i < IN; i++) {
                    double term = (double) decoded[o * IN + i] * x.get(0, i);
                    sum += term;
                    size += Math.abs(term);
                }
                assertThat((double) y.get(0, o)).isCloseTo(sum, within(1e-6 * size));
            }
        }
    }

    @Test
    void refusesOtherFormats() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            for (String format : Arrays.asList("q4_2", "q8_1", "i8", "float")) {
                assertThatThrownBy(() -> RandomWeights.weight(compute, arena, format, OUT, IN))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageEndingWith("or a GGUF block type, found " + format);
            }
        }
    }

    @Test
    void theModelHasTheWeightsThatItsShapeCounts() {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            DecoderModel model = SmolLmShape.random(compute, arena, "q4_0");
            long linear = 0;
            for (DecoderLayer layer : model.layers()) {
                for (Linear one : layer.linears()) {
                    linear += (long) one.weight().outFeatures() * one.weight().inFeatures();
                }
            }
            assertThat(linear).isEqualTo(SmolLmShape.LINEAR_WEIGHTS);
            Weight head = model.head().weight();
            assertThat((long) head.outFeatures() * head.inFeatures()).isEqualTo(SmolLmShape.HEAD_WEIGHTS);
        }
    }
}
