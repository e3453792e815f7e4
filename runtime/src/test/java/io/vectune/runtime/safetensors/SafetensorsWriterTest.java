package io.vectune.runtime.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsWriterTest {
    @TempDir Path folder;

    private static MemorySegment bytes(int... values) {
        byte[] content = new byte[values.length];
        for (int i = 0; i < values.length; i++) {
            content[i] = (byte) values[i];
        }
        return MemorySegment.ofArray(content);
    }

    private List<String> left() throws IOException {
        try (Stream<Path> entries = Files.list(folder)) {
            return entries.map(entry -> folder.relativize(entry).toString()).sorted().toList();
        }
    }

    @Test
    void takesTensorsInAnyOrderAndInPieces() throws IOException {
        Path path = folder.resolve("new/dir/a.safetensors");
        SafetensorsWriter.Declaration declaration =
                SafetensorsWriter.declare(Map.of("format", "pt"))
                        .tensor("bytes", DType.U8, 3)
                        .tensor("wide", DType.I64, 1)
                        .tensor("none", DType.F32, 0, 7)
                        .tensor("half", DType.BF16, 2, 1);
        try (SafetensorsWriter writer = declaration.create(path)) {
            assertThat(writer.names()).containsExactly("wide", "none", "half", "bytes");
            writer.write("bytes", bytes(1, 2));
            writer.write("half", bytes(0x80, 0x3f, 0, 0x40));
            assertThat(path).doesNotExist();
            writer.write("wide", bytes(7, 0, 0, 0, 0, 0, 0, 0x80));
            writer.write("bytes", bytes(3));
            writer.commit();
        }
        assertThat(Files.size(path)).isEqualTo(declaration.fileBytes());
        try (Arena arena = Arena.ofConfined()) {
            SafetensorsFile file = SafetensorsFile.open(path, arena);
            assertThat(file.names()).containsExactlyInAnyOrder("wide", "none", "half", "bytes");
            assertThat(file.tensor("bytes").segment().toArray(ValueLayout.JAVA_BYTE)).containsExactly(1, 2, 3);
            assertThat(file.tensor("half").getFloat(0)).isEqualTo(1f);
            assertThat(file.tensor("half").getFloat(1)).isEqualTo(2f);
            assertThat(file.tensor("wide").segment().get(Tensor.LONG, 0)).isEqualTo(Long.MIN_VALUE + 7);
            assertThat(file.metadata()).containsExactly(Map.entry("format", "pt"));
        }
    }

    @Test
    void checksTheCountOfBytes() throws IOException {
        Path path = folder.resolve("a.safetensors");
        SafetensorsWriter.Declaration declaration =
                SafetensorsWriter.declare(Map.of()).tensor("a", DType.F32, 2).tensor("b", DType.U8, 1);
        try (SafetensorsWriter writer = declaration.create(path)) {
            writer.write("a", bytes(0, 0, 0, 0));
            assertThatThrownBy(() -> writer.write("a", bytes(0, 0, 0, 0, 0)))
                    .hasMessage("tensor a: expected 8 bytes, found 9");
            assertThatThrownBy(() -> writer.write("aa", bytes(0)))
                    .hasMessage("tensor aa is not declared; near matches: a");
            assertThatThrownBy(writer::commit)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage(path + ": tensor a: expected 8 bytes, 4 were written");
        }
        assertThat(left()).isEmpty();
        assertThatThrownBy(() -> declaration.tensor("a", DType.U8, 1)).hasMessage("tensor a is declared twice");
        assertThatThrownBy(() -> declaration.tensor("c", DType.U8, -1)).hasMessageContaining("must not be negative");
    }

    @Test
    void aFailureLeavesTheOldFile() throws IOException {
        Path path = Files.writeString(folder.resolve("a.safetensors"), "old");
        try (SafetensorsWriter writer = SafetensorsWriter.declare(Map.of()).tensor("a", DType.F32, 2).create(path)) {
            writer.write("a", bytes(0, 0, 0, 0));
        }
        assertThat(path).hasContent("old");
        assertThat(left()).containsExactly("a.safetensors");
    }

    @Test
    void placesThatCannotBeWrittenAreNamed() throws IOException {
        Path file = Files.writeString(folder.resolve("file"), "x");
        Path below = file.resolve("a.safetensors");
        assertThatThrownBy(() -> SafetensorsWriter.declare(Map.of()).create(below))
                .isInstanceOf(VectuneException.class)
                .hasMessageStartingWith(below + ": cannot be written: ")
                .hasMessageNotContaining("\n");
        assertThatThrownBy(() -> SafetensorsWriter.declare(Map.of()).create(folder))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("it is a directory, expected a file name");
    }
}
