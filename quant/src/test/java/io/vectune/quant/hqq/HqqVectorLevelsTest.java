package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.quant.lanes.Lanes;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.FloatCast;
import java.util.ArrayList;
import java.util.List;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.Test;

/// The roundings of lanes are those of single numbers: all exponents of both signs, ties to even and odd, what lies
/// next to them, and both ends of the mantissa.
class HqqVectorLevelsTest {
    private static final int[] MANTISSAS = {
        0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x2FFF, 0x3000, 0x3001, 0x7FFF, 0x8000, 0x8001, 0x17FFF, 0x18000,
        0x18001, 0x400000, 0x555555, 0x7FDFFF, 0x7FE000, 0x7FEFFF, 0x7FF000, 0x7FFFFF
    };

    private static List<Float> numbers() {
        List<Float> numbers = new ArrayList<>();
        for (int exponent = 0; exponent < 255; exponent++) {
            for (int mantissa : MANTISSAS) {
                float number = Float.intBitsToFloat((exponent << 23) | mantissa);
                numbers.add(number);
                numbers.add(-number);
            }
        }
        numbers.addAll(List.of(Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.NaN, 65519.99f, 65520f));
        return numbers;
    }

    @Test
    void lanesRoundLikeSingleNumbers() {
        float[] lanes = new float[Lanes.COUNT];
        for (float number : numbers()) {
            FloatVector value = FloatVector.broadcast(Lanes.F32, number);
            HqqVectorLevels.roundF16(value).intoArray(lanes, 0);
            assertThat(Float.floatToIntBits(lanes[Lanes.COUNT - 1]))
                    .as("%a in f16", number)
                    .isEqualTo(Float.floatToIntBits(FloatCast.round(number, DType.F16)));
            HqqVectorLevels.roundBf16(value).intoArray(lanes, 0);
            assertThat(Float.floatToIntBits(lanes[0]))
                    .as("%a in bf16", number)
                    .isEqualTo(Float.floatToIntBits(FloatCast.round(number, DType.BF16)));
        }
    }
}
