package io.vectune.quant.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.quant.TestData;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GgufFileTest {
    private static final Path METADATA = TestData.path("gguf", "metadata.gguf");

    @Test
    void readsEveryMetadataType() {
        try (Arena arena = Arena.ofConfined()) {
            GgufMetadata metadata = GgufFile.open(METADATA, arena).metadata();
            assertThat(metadata.string("general.architecture")).isEqualTo("test");
            assertThat(metadata.integer("value.uint8")).isEqualTo(200);
            assertThat(metadata.integer("value.int8")).isEqualTo(-100);
            assertThat(metadata.integer("value.uint16")).isEqualTo(60000);
            assertThat(metadata.integer("value.int16")).isEqualTo(-30000);
            assertThat(metadata.longInteger("value.uint32")).isEqualTo(4_000_000_000L);
            assertThat(metadata.integer("value.int32")).isEqualTo(-2_000_000_000);
            assertThat(metadata.longInteger("value.uint64")).isEqualTo(1L << 40);
            assertThat(metadata.longInteger("value.int64")).isEqualTo(-(1L << 40));
            assertThat(metadata.real("value.float32")).isEqualTo(0.1f);
            assertThat(metadata.real("value.float64")).isEqualTo(0.1);
            assertThat(metadata.real("value.int8")).isEqualTo(-100);
            assertThat(metadata.flag("value.true")).isTrue();
            assertThat(metadata.flag("value.false")).isFalse();
            assertThat(metadata.string("value.string")).isEqualTo("h\u00e9llo \ud83d\ude00");
            assertThat(metadata.strings("array.string")).containsExactly("a", "", "\u0120the", "\ud83d\ude00");
            assertThat(metadata.integers("array.int32")).containsExactly(1, -2, 3);
            assertThat(metadata.reals("array.float32")).containsExactly(0.5f, -1.25f);
            assertThat(metadata.reals("array.int32")).containsExactly(1, -2, 3);
            assertThat(metadata.count("array.bool")).isEqualTo(2);
            assertThat(metadata.type("array.bool")).isEqualTo(GgufValueType.ARRAY);
            assertThat(metadata.describe("array.bool")).isEqualTo("BOOL[2]");
            assertThat(metadata.describe("value.uint32")).isEqualTo("4000000000");
        }
    }

    @Test
    void fallbacksStandInForMissingKeysOnly() {
        try (Arena arena = Arena.ofConfined()) {
            GgufMetadata metadata = GgufFile.open(METADATA, arena).metadata();
            assertThat(metadata.has("no.such")).isFalse();
            assertThat(metadata.integer("no.such", 7)).isEqualTo(7);
            assertThat(metadata.real("no.such", 1.5)).isEqualTo(1.5);
            assertThat(metadata.string("no.such", "x")).isEqualTo("x");
            assertThat(metadata.flag("no.such", true)).isTrue();
            assertThatThrownBy(() -> metadata.integer("value.string", 7)).isInstanceOf(FileFormatException.class);
        }
    }

    @Test
    void namesKeyAndTypesWhenAValueDoesNotFit() {
        try (Arena arena = Arena.ofConfined()) {
            GgufMetadata metadata = GgufFile.open(METADATA, arena).metadata();
            assertThatThrownBy(() -> metadata.string("no.such"))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("metadata.gguf: metadata has no key no.such");
            assertThatThrownBy(() -> metadata.integer("value.string"))
                    .hasMessageContaining("value.string: expected an integer, found STRING");
            assertThatThrownBy(() -> metadata.integer("value.uint64"))
                    .hasMessageContaining("below 2^31, found 1099511627776");
            assertThatThrownBy(() -> metadata.strings("array.int32"))
                    .hasMessageContaining("expected an array of strings, found an array of INT32");
            assertThatThrownBy(() -> metadata.integer("array.int32"))
                    .hasMessageContaining("expected an integer, found an array of INT32");
            assertThatThrownBy(() -> metadata.integers("value.int32"))
                    .hasMessageContaining("expected an array of integers, found INT32");
        }
    }

    @Test
    void shapesAreOutermostFirst() {
        try (Arena arena = Arena.ofConfined()) {
            GgufFile file = GgufFile.open(METADATA, arena);
            assertThat(file.tensors().keySet()).containsExactly("vector", "integers", "cube");
            assertThat(file.tensor("cube").shape()).containsExactly(2, 3, 4);
            Tensor cube = file.tensor("cube").dequantize(arena);
            assertThat(cube.dtype()).isEqualTo(DType.F32);
            assertThat(cube.getFloat(1 * 12 + 2 * 4 + 3)).isEqualTo(23f);
            assertThat(file.tensor("integers").asTensor().segment().get(Tensor.INT, 4 * 4)).isEqualTo(4);
            assertThat(file.tensor("vector").segment().address() % 64).isZero();
            assertThatThrownBy(() -> file.tensor("absent")).hasMessageContaining("expected a tensor absent");
            assertThatThrownBy(() -> file.tensor("vector").weight()).hasMessageContaining("expected 2 axes");
        }
    }

    @Test
    void everyTruncationIsRefused() throws IOException {
        byte[] whole = Files.readAllBytes(METADATA);
        try (Arena arena = Arena.ofConfined()) {
            for (int length = 0; length < whole.length; length += length < 900 ? 1 : 7) {
                MemorySegment part = arena.allocate(Math.max(length, 1)).asSlice(0, length);
                MemorySegment.copy(whole, 0, part, Tensor.BYTE, 0, length);
                if (length <= whole.length - 64) {
                    assertThatThrownBy(() -> GgufFile.of("part", part)).isInstanceOf(FileFormatException.class);
                }
            }
        }
    }

    @Test
    void damagedHeadersNeverEscapeAsAnotherError() throws IOException {
        byte[] whole = Files.readAllBytes(METADATA);
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment file = arena.allocate(whole.length);
            for (int at = 0; at < whole.length; at++) {
                for (byte value : new byte[] {0, 1, 0x7F, (byte) 0x80, (byte) 0xFF}) {
                    MemorySegment.copy(whole, 0, file, Tensor.BYTE, 0, whole.length);
                    file.set(Tensor.BYTE, at, value);
                    try {
                        GgufFile read = GgufFile.of("damaged", file);
                        read.metadata().keys().forEach(read.metadata()::describe);
                    } catch (FileFormatException refused) {
                        assertThat(refused).hasMessageStartingWith("damaged: ");
                    }
                }
            }
        }
    }

    @Test
    void refusesByName(@TempDir Path folder) throws IOException {
        assertThatThrownBy(() -> open(folder, header(0x46554748, 3, 0, 0))).hasMessageContaining("no GGUF file");
        assertThatThrownBy(() -> open(folder, header(0x46554747, 1, 0, 0))).hasMessageContaining("found 1");
        assertThatThrownBy(() -> open(folder, header(0x46554747, 3 << 24, 0, 0))).hasMessageContaining("big-endian");
        assertThatThrownBy(() -> open(folder, header(0x46554747, 3, 1L << 60, 0)))
                .hasMessageContaining("number of tensors: found 1152921504606846976");
        assertThatThrownBy(() -> open(folder, header(0x46554747, 3, 0, -1)))
                .hasMessageContaining("number of metadata entries: found 18446744073709551615");
        assertThatThrownBy(() -> GgufFile.open(folder.resolve("absent.gguf"), Arena.global()))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("absent.gguf: cannot be read");
    }

    @Test
    void refusesTensorsThatLeaveTheFileOrOverlap(@TempDir Path folder) {
        assertThatThrownBy(() -> open(folder, tensors(new Spec("a", GgufType.F32, 1L << 40, 0))))
                .hasMessageContaining("tensor a needs 4398046511104 bytes");
        assertThatThrownBy(() -> open(folder, tensors(new Spec("a", GgufType.F32, Long.MAX_VALUE, 0))))
                .hasMessageContaining("absurd");
        assertThatThrownBy(() -> open(folder, tensors(new Spec("a", GgufType.F32, -5, 0))))
                .hasMessageContaining("absurd dimension");
        assertThatThrownBy(() -> open(folder, tensors(new Spec("a", GgufType.F32, 4, 7))))
                .hasMessageContaining("multiple of the alignment 32, found 7");
        assertThatThrownBy(() -> open(folder, tensors(new Spec("a", GgufType.F32, 4, -32))))
                .hasMessageContaining("multiple of the alignment");
        assertThatThrownBy(() -> open(folder, tensors(new Spec("a", GgufType.Q4_0, 33, 0))))
                .hasMessageContaining("multiple of 32 elements for Q4_0, found 33");
        assertThatThrownBy(() ->
                        open(folder, tensors(new Spec("a", GgufType.F32, 12, 0), new Spec("b", GgufType.F32, 4, 32))))
                .hasMessageContaining("tensors a and b overlap");
        assertThatThrownBy(() ->
                        open(folder, tensors(new Spec("a", GgufType.F32, 4, 0), new Spec("a", GgufType.F32, 4, 32))))
                .hasMessageContaining("occurs twice");
        assertThat(tensors(new Spec("a", GgufType.F32, 4, 0))).isNotEmpty();
    }

    private record Spec(String name, GgufType type, long elements, long offset) {}

    private static GgufFile open(Path folder, byte[] content) throws IOException {
        Path file = folder.resolve("file.gguf");
        Files.write(file, content);
        return GgufFile.open(file, Arena.ofAuto());
    }

    private static byte[] header(int magic, int version, long tensorCount, long metadataCount) {
        MemorySegment segment = MemorySegment.ofArray(new byte[24]);
        segment.set(Tensor.INT, 0, magic);
        segment.set(Tensor.INT, 4, version);
        segment.set(Tensor.LONG, 8, tensorCount);
        segment.set(Tensor.LONG, 16, metadataCount);
        return segment.toArray(Tensor.BYTE);
    }

    private static byte[] tensors(Spec... specs) {
        MemorySegment segment = MemorySegment.ofArray(new byte[512]);
        MemorySegment.copy(header(0x46554747, 3, specs.length, 0), 0, segment, Tensor.BYTE, 0, 24);
        long at = 24;
        for (Spec spec : specs) {
            byte[] name = spec.name.getBytes(StandardCharsets.UTF_8);
            segment.set(Tensor.LONG, at, name.length);
            MemorySegment.copy(name, 0, segment, Tensor.BYTE, at + 8, name.length);
            at += 8 + name.length;
            segment.set(Tensor.INT, at, 1);
            segment.set(Tensor.LONG, at + 4, spec.elements);
            segment.set(Tensor.INT, at + 12, spec.type.id());
            segment.set(Tensor.LONG, at + 16, spec.offset);
            at += 24;
        }
        return segment.toArray(Tensor.BYTE);
    }
}
