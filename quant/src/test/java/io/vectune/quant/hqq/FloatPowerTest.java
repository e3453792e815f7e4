package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.quant.QuantTestData;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;

class FloatPowerTest {
    @Test
    void hasTheBitsOfTorch() {
        JsonNode golden = QuantTestData.json("hqq/quantizer.json").get("powers");
        int count = golden.get("count").asInt();
        float[] values =
                HqqInputs.values(1, count, golden.get("seed").asLong(), golden.get("sigma").asDouble(), "none");
        float[] powers = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = Math.abs(values[i]) + 1e-3f;
            powers[i] = i < count / 32 * 32 ? FloatPower.power(values[i], -0.3f) : (float) Math.pow(values[i], 0.7 - 1);
        }
        try (Arena arena = Arena.ofConfined()) {
            Tensor input = HqqInputs.tensor(arena, DType.F32, 1, count, values);
            Tensor output = HqqInputs.tensor(arena, DType.F32, 1, count, powers);
            assertThat(HqqGoldenTest.sha256(input.segment())).isEqualTo(golden.get("input").asString());
            assertThat(HqqGoldenTest.sha256(output.segment())).isEqualTo(golden.get("powers").asString());
        }
    }

    /// Errors of the solver go from 0.14 to beyond 1e38; the vector loop covers whole vectors.
    @Test
    void vectorsHaveTheBitsOfTheScalar() {
        int count = 1 << 16;
        float[] values = new float[SolverKernels.POWER_SCRATCH * count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) Math.scalb(0.14 + i * (1.9 / count), i % 128 == 0 ? 126 : i % 7);
        }
        float[] expected = new float[count];
        for (int i = 0; i < count; i++) {
            expected[i] = FloatPower.power(values[i], ProximalShrink.POWER);
        }
        VectorFloatPower.powers(values, count, ProximalShrink.POWER);
        assertThat(Arrays.copyOf(values, count)).isEqualTo(expected);
    }
}
