package io.vectune.runtime.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.TestData;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;

class SafetensorsFileTest {
    @TempDir Path folder;

    /// A file of this header, its length field and so many data bytes.
    private Path file(String header, int dataBytes) throws IOException {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        return file(json.length, json, dataBytes);
    }

    private Path file(long claimed, byte[] header, int dataBytes) throws IOException {
        ByteBuffer bytes =
                ByteBuffer.allocate(8 + header.length + dataBytes)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(claimed)
                        .put(header);
        return Files.write(folder.resolve("bad.safetensors"), bytes.array());
    }

    private static void open(Path path) {
        try (Arena arena = Arena.ofConfined()) {
            SafetensorsFile.open(path, arena);
        }
    }

    private static byte[] bytes(Tensor tensor) {
        return tensor.segment().toArray(ValueLayout.JAVA_BYTE);
    }

    @Test
    void readsWhatPythonWrote() {
        JsonNode facts = StrictJson.readObject(TestData.path("safetensors/all-dtypes.json")).get("tensors");
        try (Arena arena = Arena.ofConfined()) {
            SafetensorsFile file = SafetensorsFile.open(TestData.path("safetensors/all-dtypes.safetensors"), arena);
            assertThat(file.names()).hasSize(facts.size());
            assertThat(file.metadata()).containsOnlyKeys("versions");
            assertThat(file.metadata().get("versions")).contains("\"safetensors\": \"0.8.0\"");
            for (Map.Entry<String, JsonNode> fact : facts.properties()) {
                Tensor tensor = file.tensor(fact.getKey());
                assertThat(HexFormat.of().formatHex(bytes(tensor)))
                        .as(fact.getKey())
                        .isEqualTo(fact.getValue().get("bytes").asString());
                assertThat(Arrays.toString(tensor.shape()))
                        .isEqualTo(
                                Arrays.toString(
                                        fact.getValue()
                                                .get("shape")
                                                .valueStream()
                                                .mapToLong(JsonNode::asLong)
                                                .toArray()));
                if (fact.getKey().startsWith("tensor.")) {
                    assertThat("tensor." + tensor.dtype()).isEqualTo(fact.getKey());
                }
            }
            assertThat(file.tensor("scalar").getFloat(0)).isEqualTo(1.5f);
            assertThat(file.tensor("scalar").axes()).isZero();
            assertThat(file.tensor("empty").elements()).isZero();
            assertThat(file.tensor("tensor.F32").segment().isReadOnly()).isTrue();
        }
    }

    @Test
    void writesTheBytesThatPythonWrites() throws IOException {
        Path golden = TestData.path("safetensors/all-dtypes.safetensors");
        Path copy = folder.resolve("copy.safetensors");
        try (Arena arena = Arena.ofConfined()) {
            SafetensorsFile file = SafetensorsFile.open(golden, arena);
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            file.names().stream().sorted().forEach(name -> tensors.put(name, file.tensor(name)));
            SafetensorsWriter.write(copy, tensors, file.metadata());
        }
        assertThat(copy).hasSameBinaryContentAs(golden);
    }

    @Test
    void missingTensorOffersNearMatches() {
        try (Arena arena = Arena.ofConfined()) {
            Path path = TestData.path("safetensors/all-dtypes.safetensors");
            SafetensorsFile file = SafetensorsFile.open(path, arena);
            assertThatThrownBy(() -> file.tensor("tensr.F32"))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageStartingWith(path + ": has no tensor tensr.F32; near matches: tensor.F32");
            assertThat(file.find("tensr.F32")).isEmpty();
            assertThat(file.find("scalar")).isPresent();
        }
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{`a`:{`dtype`:`F32`,`shape`:[2],`data_offsets`:[0,8]}}|4|tensor a ends at byte 70 but the file has 66"
                        + " bytes; it is truncated by 4 bytes, fetch it again",
                "{`a`:{`dtype`:`F32`,`shape`:[2],`data_offsets`:[0,8]}}|9|1 bytes belong to no tensor",
                "{`a`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[0,4]},`b`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[2,6]}}"
                        + "|6|tensor b begins at byte 2 of the data and overlaps tensor a, which ends at byte 4",
                "{`a`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[0,4]},`b`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[6,10]}}"
                        + "|10|tensor b begins at byte 6 of the data, but tensor a ends at byte 4; a hole of 2 bytes",
                "{`a`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[4,8]}}|8|but the data begins at byte 0; a hole of 4",
                "{`a`:{`dtype`:`F33`,`shape`:[1],`data_offsets`:[0,4]}}|4|tensor a has the dtype F33, which is not known;"
                        + " near matches: F32",
                "{`a`:{`dtype`:`f32`,`shape`:[1],`data_offsets`:[0,4]}}|4|tensor a has the dtype f32, which is not known",
                "{`a`:{`dtype`:7,`shape`:[1],`data_offsets`:[0,4]}}|4|tensor a dtype must be a string",
                "{`a`:{`dtype`:`F32`,`shape`:[-1],`data_offsets`:[0,4]}}|4|tensor a shape[0]: expected a size from 0 to"
                        + " 2^63-1, found -1",
                "{`a`:{`dtype`:`F32`,`shape`:[1.0],`data_offsets`:[0,4]}}|4|shape[0]: expected a size from 0 to 2^63-1,"
                        + " found 1.0",
                "{`a`:{`dtype`:`F32`,`shape`:[9223372036854775808],`data_offsets`:[0,4]}}|4|found 9223372036854775808",
                "{`a`:{`dtype`:`F32`,`shape`:[4294967296,4294967296],`data_offsets`:[0,4]}}|4|shape [4294967296,"
                        + " 4294967296] of F32 has more than 2^63-1 bytes",
                "{`a`:{`dtype`:`F32`,`shape`:[2305843009213693952],`data_offsets`:[0,4]}}|4|has more than 2^63-1 bytes",
                "{`a`:{`dtype`:`F32`,`shape`:[3],`data_offsets`:[0,8]}}|8|tensor a shape [3] of F32 takes 12 bytes, but"
                        + " data_offsets [0, 8] span 8",
                "{`a`:{`dtype`:`F32`,`shape`:[2],`data_offsets`:[8,0]}}|8|the end lies before the begin",
                "{`a`:{`dtype`:`F32`,`shape`:[2],`data_offsets`:[0,8,16]}}|8|expected [begin, end], found [0, 8, 16]",
                "{`a`:{`dtype`:`F32`,`shape`:[2],`data_offsets`:[0,9223372036854775807]}}|8|span 9223372036854775807",
                "{`a`:{`dtype`:`U8`,`shape`:[9223372036854775807],`data_offsets`:[0,9223372036854775807]}}|8|it is"
                        + " truncated by 9223372036854775799 bytes",
                "{`a`:{`dtype`:`F32`,`shape`:[2]}}|8|tensor a has no data_offsets",
                "{`a`:{`shape`:[2],`data_offsets`:[0,8]}}|8|tensor a has no dtype",
                "{`a`:{`dtype`:`F32`,`data_offsets`:[0,8]}}|8|tensor a has no shape",
                "{`a`:{`dtype`:`F32`,`shape`:[2],`data_offsets`:[0,8],`more`:1}}|8|tensor a has the unknown key more",
                "{`a`:{`dtype`:`F32`,`shape`:2,`data_offsets`:[0,8]}}|8|tensor a shape must be an array of sizes",
                "{`a`:[1,2]}|8|tensor a expected a JSON object with dtype, shape and data_offsets",
                "{`a`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[0,4]},`a`:{`dtype`:`F32`,`shape`:[1],`data_offsets`:[4,8]}}"
                        + "|8|the header is not valid JSON: Duplicate Object property \"a\"",
                "{`a`:{`dtype`:`F32`,`dtype`:`F32`,`shape`:[1],`data_offsets`:[0,4]}}|4|Duplicate Object property",
                "{`__metadata__`:{`k`:1}}|0|__metadata__ key k: expected a string, found 1",
                "{`__metadata__`:[]}|0|__metadata__ must be a JSON object",
                "{}{}|0|the header goes on after its JSON object",
                "{`a`|0|the header is not valid JSON",
                "[]|0|expected a header that is a JSON object; this is not a safetensors file",
            })
    void refusesByNameAndNumber(String header, int dataBytes, String expected) throws IOException {
        Path path = file(header.replace('`', '"').replace("``", "`"), dataBytes);
        assertThatThrownBy(() -> open(path))
                .isInstanceOf(FileFormatException.class)
                .hasMessageStartingWith(path + ": ")
                .hasMessageContaining(expected.replace('`', '"'))
                .hasMessageNotContaining("\n");
    }

    @Test
    void refusesHeaderLengthsThatCannotBe() throws IOException {
        byte[] json = "{}".getBytes(StandardCharsets.UTF_8);
        assertThatThrownBy(() -> open(file(3, json, 0)))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("the header claims 3 bytes but the file has 10; it is truncated");
        assertThatThrownBy(() -> open(file(100_000_001, json, 0)))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("claims 100000001 bytes, expected at most 100000000");
        assertThatThrownBy(() -> open(file(-1, json, 0)))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("claims 18446744073709551615 bytes");
        assertThatThrownBy(() -> open(file(0, json, 0)))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("expected a header that is a JSON object");
        Path tiny = Files.write(folder.resolve("tiny"), new byte[7]);
        assertThatThrownBy(() -> open(tiny))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("found 7 bytes in all");
    }

    @Test
    void refusesAHeaderThatIsNotUtf8() throws IOException {
        byte[] json = "{\"\u00ff\":1}".getBytes(StandardCharsets.ISO_8859_1);
        assertThatThrownBy(() -> open(file(json.length, json, 0)))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("the header is not valid JSON");
    }

    @Test
    void saysWhyAFileCannotBeRead() {
        assertThatThrownBy(() -> open(folder.resolve("none.safetensors")))
                .isInstanceOf(VectuneException.class)
                .hasMessage(folder.resolve("none.safetensors") + ": cannot be read: no such file or directory");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("it is a directory");
    }

    @Test
    void truncationAtEveryByteIsRefused() throws IOException {
        byte[] whole = Files.readAllBytes(TestData.path("safetensors/all-dtypes.safetensors"));
        Path cut = folder.resolve("cut.safetensors");
        for (int length = 0; length < whole.length; length++) {
            Files.write(cut, Arrays.copyOf(whole, length));
            assertThatThrownBy(() -> open(cut)).isInstanceOf(FileFormatException.class);
        }
    }

    /// Any damage to the header either gives a file whose tensors all lie inside it, or a named refusal.
    @Test
    void damagedHeadersNeverGetPast() throws IOException {
        byte[] whole = Files.readAllBytes(TestData.path("safetensors/all-dtypes.safetensors"));
        int headerEnd = 8 + (int) ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong(0);
        SplittableRandom random = new SplittableRandom(20260901);
        Path damaged = folder.resolve("damaged.safetensors");
        int refused = 0;
        for (int round = 0; round < 1500; round++) {
            byte[] bytes = whole.clone();
            for (int flips = random.nextInt(1, 4); flips > 0; flips--) {
                int at = random.nextInt(headerEnd);
                bytes[at] =
                        (byte)
                                (random.nextBoolean()
                                        ? bytes[at] ^ (1 << random.nextInt(8))
                                        : "0129-,:[]{}\"".charAt(random.nextInt(12)));
            }
            Files.write(damaged, bytes);
            try (Arena arena = Arena.ofConfined()) {
                SafetensorsFile file = SafetensorsFile.open(damaged, arena);
                long total = 0;
                for (String name : file.names()) {
                    total += file.tensor(name).byteSize();
                }
                assertThat(total).isEqualTo(whole.length - headerEnd);
            } catch (FileFormatException e) {
                assertThat(e.getMessage()).startsWith(damaged + ": ").doesNotContain("\n");
                refused++;
            }
        }
        assertThat(refused).isGreaterThan(700);
    }

    @Test
    void mapsTensorsBeyondTwoGibibytes() throws IOException {
        long elements = (5L << 30) / 2;
        String json =
                "{\"big\":{\"dtype\":\"BF16\",\"shape\":[" + elements + "],\"data_offsets\":[0," + 2 * elements + "]}}";
        byte[] header = json.getBytes(StandardCharsets.UTF_8);
        Path path = file(header.length, header, 0);
        // A sparse file: only the last element takes space on the disk.
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.WRITE)) {
            ByteBuffer one = ByteBuffer.wrap(new byte[] {(byte) 0x80, 0x3f});
            channel.write(one, 8 + header.length + 2 * (elements - 1));
        }
        try (Arena arena = Arena.ofConfined()) {
            Tensor big = SafetensorsFile.open(path, arena).tensor("big");
            assertThat(big.byteSize()).isEqualTo(5L << 30);
            assertThat(big.getFloat(elements - 1)).isEqualTo(1f);
            assertThat(big.getFloat(elements - 2)).isZero();
        }
    }

    @Test
    void keepsTheArenasLife() {
        MemorySegment segment;
        try (Arena arena = Arena.ofConfined()) {
            Path path = TestData.path("safetensors/all-dtypes.safetensors");
            segment = SafetensorsFile.open(path, arena).tensor("scalar").segment();
            assertThat(segment.byteSize()).isEqualTo(DType.F32.bytes());
        }
        assertThat(segment.scope().isAlive()).isFalse();
    }
}
