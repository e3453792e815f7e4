package io.vectune.quant.bnb;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.quant.QuantTestData;
import io.vectune.quant.WeightChecks;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Locale;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class FourBitGoldenTest {
    static Stream<String> cases() {
        try (Arena arena = Arena.ofConfined()) {
            return goldens(arena).names().stream()
                    .filter(name -> name.endsWith(".input"))
                    .map(name -> name.substring(0, name.length() - ".input".length()))
                    .toList()
                    .stream();
        }
    }

    private static SafetensorsFile goldens(Arena arena) {
        return SafetensorsFile.open(QuantTestData.path("bnb/four-bit.safetensors"), arena);
    }

    private static FourBitConfig config(JsonNode about) {
        FourBitType type = FourBitType.valueOf(about.get("quant_type").asString().toUpperCase(Locale.ROOT));
        return new FourBitConfig(type, about.get("blocksize").asInt(), about.get("nested").asBoolean(), DType.U8);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void hasTheBytesOfTheLibrary(String name) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            SafetensorsFile file = goldens(arena);
            FourBitConfig config = config(JsonMapper.shared().readTree(file.metadata().get(name)));
            FourBitWeight weight =
                    FourBitQuantizer.quantize(compute, name, file.tensor(name + ".input"), config, arena);
            assertThat(bytes(weight.packed())).isEqualTo(bytes(file.tensor(name + ".packed").segment()));
            assertThat(bytes(weight.absmax().segment())).isEqualTo(bytes(file.tensor(name + ".absmax").segment()));
            if (config.doubleQuant()) {
                assertThat(weight.absmax().nestedOffset()).isEqualTo(file.tensor(name + ".nested_offset").getFloat(0));
                assertThat(weight.absmax().nestedAbsmax()).containsExactly(floats(file, name + ".nested_absmax"));
                assertThat(weight.absmax().nestedMap()).containsExactly(floats(file, name + ".nested_quant_map"));
            }
            WeightChecks.decodesTo(weight, floats(file, name + ".dequantized"));
            WeightChecks.products(weight);
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void tiersAgreeBitForBit(String name) {
        try (Arena arena = Arena.ofShared()) {
            SafetensorsFile file = goldens(arena);
            FourBitConfig config = config(JsonMapper.shared().readTree(file.metadata().get(name)));
            float[] values = floats(file, name + ".input");
            FourBitScalar scalar = new FourBitScalar();
            FourBitVector vector = new FourBitVector();
            for (int count = 1; count <= Math.min(values.length, 300); count += 7) {
                float absmax = scalar.absmax(values, 0, count);
                assertThat(vector.absmax(values, 0, count)).isEqualTo(absmax);
                for (boolean full : new boolean[] {true, false}) {
                    byte[] byScalar = new byte[count];
                    byte[] byVector = new byte[count];
                    scalar.codes(Codebook.of(config.type()), values, 0, count, absmax, full, byScalar);
                    vector.codes(Codebook.of(config.type()), values, 0, count, absmax, full, byVector);
                    assertThat(byVector).isEqualTo(byScalar);
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4", "fp4", "nf4 nested", "fp4 nested"})
    void hasTheHashesOfTheLibraryAtFluxSize(String kind) throws Exception {
        JsonNode goldens = QuantTestData.json("bnb/hashes.json");
        FourBitType type = FourBitType.valueOf(kind.substring(0, 3).toUpperCase(Locale.ROOT));
        boolean nested = kind.endsWith("nested");
        JsonNode expected = goldens.get(type.key());
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Tensor input = LinearCongruence.weight(arena, 3072, 64);
            FourBitConfig config = new FourBitConfig(type, 64, nested, DType.U8);
            FourBitWeight weight = FourBitQuantizer.quantize(compute, kind, input, config, arena);
            assertThat(sha(weight.packed())).isEqualTo(expected.get("packed").asString());
            JsonNode state = nested ? expected.get("nested") : expected;
            assertThat(sha(weight.absmax().segment())).isEqualTo(state.get(nested ? "absmax_u8" : "absmax").asString());
            if (nested) {
                assertThat(weight.absmax().nestedOffset()).isEqualTo((float) state.get("offset").asDouble());
                MemorySegment absmax = MemorySegment.ofArray(weight.absmax().nestedAbsmax());
                assertThat(sha(absmax)).isEqualTo(state.get("nested_absmax").asString());
            }
            float[] dense = new float[3072 * 64];
            weight.decode(0, 3072, 0, 64, dense, 0, 64);
            assertThat(sha(MemorySegment.ofArray(dense))).isEqualTo(state.get("dequant").asString());
        }
    }

    @Test
    void theDynamicMapIsTheRecordedOne() throws Exception {
        assertThat(sha(MemorySegment.ofArray(DynamicMap.values())))
                .isEqualTo("e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c");
    }

    private static float[] floats(SafetensorsFile file, String name) {
        Tensor tensor = file.tensor(name);
        float[] values = new float[(int) tensor.elements()];
        for (int i = 0; i < values.length; i++) {
            values[i] = tensor.getFloat(i);
        }
        return values;
    }

    private static byte[] bytes(MemorySegment segment) {
        return segment.toArray(Tensor.BYTE);
    }

    private static String sha(MemorySegment segment) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        return HexFormat.of().formatHex(digest.digest(bytes(segment)));
    }
}
