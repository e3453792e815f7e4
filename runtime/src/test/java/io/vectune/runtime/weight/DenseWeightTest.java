package io.vectune.runtime.weight;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.Lanes;
import io.vectune.runtime.compute.VectorWidth;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class DenseWeightTest {
    private final Arena arena = Arena.ofShared();

    @AfterEach
    void free() {
        arena.close();
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F16", "BF16"})
    void widensEveryPatternOf16BitsExactly(DType dtype) {
        Tensor tensor = Tensor.allocate(arena, dtype, 1, 1 << 16);
        for (int bits = 0; bits < 1 << 16; bits++) {
            tensor.segment().set(Tensor.SHORT, 2L * bits, (short) bits);
        }
        for (DenseKernels kernels : new DenseKernels[] {new DenseScalar(), new DenseVector()}) {
            float[] found = new float[1 << 16];
            kernels.decode(dtype, tensor.segment(), 0, 1 << 16, found, 0);
            for (int bits = 0; bits < 1 << 16; bits++) {
                float expected =
                        dtype == DType.F16 ? Float.float16ToFloat((short) bits) : Float.intBitsToFloat(bits << 16);
                // floatToIntBits: one pattern for all NaN.
                assertThat(Float.floatToIntBits(found[bits]))
                        .as("%s %04x", dtype, bits)
                        .isEqualTo(Float.floatToIntBits(expected));
            }
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F32", "F16", "BF16"})
    void multipliesFewTokensAsTheDecodedWeight(DType dtype) {
        for (int outFeatures : new int[] {1, 3, 4, 7, 33}) {
            for (int inFeatures : new int[] {1, 7, 16, 31, 33, 64, 257, 1023}) {
                DenseWeight weight = random(dtype, outFeatures, inFeatures);
                for (int tokens = 1; tokens <= weight.fewTokens(); tokens++) {
                    check(weight, tokens);
                }
            }
        }
    }

    private void check(DenseWeight weight, int tokens) {
        int inFeatures = weight.inFeatures();
        int outFeatures = weight.outFeatures();
        SplittableRandom random = new SplittableRandom(5);
        Matrix x = Matrix.allocate(arena, tokens, inFeatures + 3).columns(2, inFeatures + 2);
        for (int token = 0; token < tokens; token++) {
            for (int i = 0; i < inFeatures; i++) {
                x.set(token, i, (float) random.nextDouble(-1, 1));
            }
        }
        float[] decoded = new float[outFeatures * inFeatures];
        weight.decode(0, outFeatures, 0, inFeatures, decoded, 0, inFeatures);
        float[] prepared = new float[weight.preparedLength(tokens)];
        Matrix y = Matrix.allocate(arena, tokens, outFeatures);
        weight.prepare(x, prepared);
        int middle = weight.units() / 2;
        weight.multiplyPrepared(prepared, tokens, y, middle, weight.units());
        weight.multiplyPrepared(prepared, tokens, y, 0, middle);
        // Halves of an ulp of a sum of terms below 1, a random walk.
        double tolerance = 1e-6 * (1 + Math.sqrt(inFeatures));
        for (int token = 0; token < tokens; token++) {
            for (int o = 0; o < outFeatures; o++) {
                double expected = 0;
                for (int i = 0; i < inFeatures; i++) {
                    expected += (double) decoded[o * inFeatures + i] * x.get(token, i);
                }
                double error = Math.abs(y.get(token, o) - expected);
                assertThat(error <= tolerance)
                        .as("%s token %d, row %d: expected %s, found %s", weight, token, o, expected, y.get(token, o))
                        .isTrue();
            }
        }
    }

    @Test
    void sumsLanesInAFixedOrder() {
        int lanes = VectorWidth.F32.length();
        float[] values = new float[lanes];
        SplittableRandom random = new SplittableRandom(1);
        for (int round = 0; round < 20_000; round++) {
            for (int lane = 0; lane < lanes; lane++) {
                values[lane] = (float) random.nextDouble(-1, 1);
            }
            float found = Lanes.sum(FloatVector.fromArray(VectorWidth.F32, values, 0));
            assertThat(found).isEqualTo(Lanes.sum(values, 0, lanes));
        }
    }

    private DenseWeight random(DType dtype, int outFeatures, int inFeatures) {
        Tensor tensor = Tensor.allocate(arena, dtype, outFeatures, inFeatures);
        SplittableRandom random = new SplittableRandom(9);
        for (long i = 0; i < tensor.elements(); i++) {
            float value = (float) random.nextDouble(-1, 1);
            switch (dtype) {
                case F32 -> tensor.setFloat(i, value);
                case F16 -> tensor.segment().set(Tensor.SHORT, 2 * i, Float.floatToFloat16(value));
                default -> tensor.segment().set(Tensor.SHORT, 2 * i, (short) (Float.floatToIntBits(value) >>> 16));
            }
        }
        return new DenseWeight(tensor);
    }
}
