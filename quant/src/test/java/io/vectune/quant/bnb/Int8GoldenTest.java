package io.vectune.quant.bnb;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.quant.QuantTestData;
import io.vectune.quant.WeightChecks;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;

class Int8GoldenTest {
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    static Stream<String> cases() {
        try (Arena arena = Arena.ofConfined()) {
            return SafetensorsFile.open(QuantTestData.path("bnb/int8.safetensors"), arena).names().stream()
                    .filter(name -> name.endsWith(".input"))
                    .map(name -> name.substring(0, name.length() - ".input".length()))
                    .toList()
                    .stream();
        }
    }

    private SafetensorsFile goldens() {
        return SafetensorsFile.open(QuantTestData.path("bnb/int8.safetensors"), arena);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void hasTheBytesOfTheLibrary(String name) {
        SafetensorsFile file = goldens();
        Int8Weight weight = Int8Quantizer.quantize(compute, name, file.tensor(name + ".input"), arena);
        assertThat(bytes(weight.codes())).isEqualTo(bytes(file.tensor(name + ".CB").segment()));
        assertThat(bytes(weight.absmax())).isEqualTo(bytes(file.tensor(name + ".SCB").segment()));
        WeightChecks.decodesTo(weight, file.tensor(name + ".dequantized").asMatrix().toArray());
        WeightChecks.products(weight);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void productsWithQuantizedInputAreTheDocumentedOnes(String name) {
        SafetensorsFile file = goldens();
        Int8Weight weight = Int8Quantizer.quantize(compute, name, file.tensor(name + ".input"), arena);
        Matrix x = file.tensor(name + ".x").asMatrix();
        Matrix expected = file.tensor(name + ".product").asMatrix();
        Matrix y = Matrix.allocate(arena, x.rows(), weight.outFeatures());
        Int8Product.multiply(compute, weight, x, y, file.tensor(name + ".threshold").getFloat(0));
        for (int token = 0; token < x.rows(); token++) {
            for (int row = 0; row < weight.outFeatures(); row++) {
                // one rounding to f32 on each side of the same exact sums
                double size = Math.abs(expected.get(token, row)) + 1e-3;
                assertThat((double) y.get(token, row)).isCloseTo(expected.get(token, row), Offset.offset(1e-6 * size));
            }
        }
    }

    @Test
    void hasTheHashesOfTheLibraryAtFluxSize() throws Exception {
        JsonNode expected = QuantTestData.json("bnb/hashes.json").get("int8");
        Int8Weight weight = Int8Quantizer.quantize(compute, "w", LinearCongruence.weight(arena, 3072, 64), arena);
        float[] dense = new float[3072 * 64];
        weight.decode(0, 3072, 0, 64, dense, 0, 64);
        assertThat(sha(weight.codes())).isEqualTo(expected.get("CB").asString());
        assertThat(sha(weight.absmax())).isEqualTo(expected.get("SCB").asString());
        assertThat(sha(MemorySegment.ofArray(dense))).isEqualTo(expected.get("dequant").asString());
    }

    @Test
    void tiersAgree() {
        SplittableRandom random = new SplittableRandom(5);
        MemorySegment codes = arena.allocate(300);
        for (int i = 0; i < 300; i++) {
            codes.set(Tensor.BYTE, i, (byte) (random.nextInt(255) - 127));
        }
        float[] x = new float[300];
        for (int i = 0; i < x.length; i++) {
            x[i] = random.nextInt(255) - 127;
        }
        for (int count = 0; count < 290; count++) {
            float[] byScalar = new float[count];
            float[] byVector = new float[count];
            new Int8Scalar().decode(codes, 3, count, 0.7f, byScalar, 0);
            new Int8Vector().decode(codes, 3, count, 0.7f, byVector, 0);
            WeightChecks.sameBits(byVector, byScalar);
            // sums of whole numbers are exact
            assertThat(new Int8Vector().dot(codes, 3, count, x, 5))
                    .isEqualTo(new Int8Scalar().dot(codes, 3, count, x, 5));
        }
    }

    @Test
    void refusesWhatCannotBeQuantized() {
        Tensor large = Tensor.allocate(arena, DType.F32, 3, 4);
        large.setFloat(6, 1e6f);
        assertThatThrownBy(() -> Int8Quantizer.quantize(compute, "layer.weight", large, arena))
                .hasMessageContaining("layer.weight has 1 value that is not finite")
                .hasMessageContaining("Infinity at [1, 2]");
        Tensor integers = Tensor.allocate(arena, DType.I32, 3, 4);
        assertThatThrownBy(() -> Int8Quantizer.quantize(compute, "layer.weight", integers, arena))
                .hasMessageContaining("layer.weight: expected F32, F16 or BF16, found I32[3, 4]");
        Int8Weight weight = Int8Quantizer.quantize(compute, "w", Tensor.allocate(arena, DType.F32, 3, 4), arena);
        Matrix x = Matrix.allocate(arena, 1, 5);
        Matrix y = Matrix.allocate(arena, 1, 3);
        assertThatThrownBy(() -> Int8Product.multiply(compute, weight, x, y, 6)).hasMessageContaining("(1, 5)");
        assertThatThrownBy(() -> Int8Product.multiply(compute, weight, x.columns(0, 4), y, Float.NaN))
                .hasMessageContaining("threshold: expected 0 or more, found NaN");
    }

    private static byte[] bytes(MemorySegment segment) {
        return segment.toArray(Tensor.BYTE);
    }

    private static String sha(MemorySegment segment) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes(segment)));
    }
}
