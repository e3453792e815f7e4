package io.vectune.quant.hqq;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.quant.QuantTestData;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;

/// Every golden of the real hqq, by one and by two threads: the same packed words, scales, zero points and weights.
class HqqGoldenTest {
    static Stream<JsonCase> cases() {
        return QuantTestData.json("hqq/quantizer.json").get("cases").valueStream().map(JsonCase::new);
    }

    record JsonCase(JsonNode node) {
        String text(String key) {
            return node.get(key).asString();
        }

        int number(String key) {
            return node.get(key).asInt();
        }

        HqqConfig config() {
            return HqqConfig.of(HqqBits.of(text("bits")), number("group"), number("axis"))
                    .withOptimize(node.get("optimize").asBoolean())
                    .withRoundZero(node.get("round_zero").asBoolean())
                    .withComputeDtype(DType.valueOf(text("compute")))
                    .withMeta(meta(text("scale_meta")), meta(text("zero_meta")));
        }

        private static HqqMetaConfig meta(String kind) {
            return switch (kind) {
                case "plain" -> HqqMetaConfig.PLAIN;
                case "tensor" -> HqqMetaConfig.PER_TENSOR;
                default -> new HqqMetaConfig.Grouped(Integer.parseInt(kind), 0);
            };
        }

        @Override
        public String toString() {
            return text("name");
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void equalsTheLibrary(JsonCase golden) {
        int rows = golden.number("rows");
        int columns = golden.number("columns");
        float[] values =
                HqqInputs.values(rows, columns, 7, golden.node().get("sigma").asDouble(), golden.text("special"));
        for (int threads = 1; threads <= 2; threads++) {
            try (Arena arena = Arena.ofShared();
                    ThreadTeam team = ThreadTeam.of(threads);
                    Compute compute = new Compute(team)) {
                Tensor input = HqqInputs.tensor(arena, DType.valueOf(golden.text("dtype")), rows, columns, values);
                assertThat(sha256(input.segment())).as("input").isEqualTo(golden.text("input"));
                HqqWeight weight = HqqQuantizer.quantize(compute, "w", input, golden.config(), arena);
                checkMeta(golden, "scale", weight.scaleMeta());
                checkMeta(golden, "zero", weight.zeroMeta());
                assertThat(sha256(weight.packed())).as("packed").isEqualTo(golden.text("packed"));
                float[] decoded = new float[rows * columns];
                weight.decode(0, rows, 0, columns, decoded, 0, columns);
                Tensor dequantized = HqqInputs.tensor(arena, weight.computeDtype(), rows, columns, decoded);
                assertThat(sha256(dequantized.segment())).as("dequantized").isEqualTo(golden.text("dequantized"));
            }
        }
    }

    private static void checkMeta(JsonCase golden, String what, HqqMeta meta) {
        switch (meta) {
            case HqqMeta.Plain(Tensor values, MemorySegment _) ->
                    assertThat(sha256(values.segment()))
                            .as("%s, head %s", what, values.getFloat(0))
                            .isEqualTo(golden.text(what));
            case HqqMeta.Quantized(HqqWeight codes, MemorySegment _) -> {
                assertThat(sha256(codes.packed())).as(what + " codes").isEqualTo(golden.text(what + "_codes"));
                checkPlain(golden, what + "_scale", codes.scaleMeta());
                checkPlain(golden, what + "_zero", codes.zeroMeta());
            }
        }
    }

    private static void checkPlain(JsonCase golden, String key, HqqMeta meta) {
        assertThat(meta)
                .isInstanceOfSatisfying(
                        HqqMeta.Plain.class,
                        plain -> assertThat(sha256(plain.values().segment())).as(key).isEqualTo(golden.text(key)));
    }

    static String sha256(MemorySegment bytes) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update(bytes.asByteBuffer());
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
