package io.vectune.runtime.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.TestData;
import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsCheckpointTest {
    private static final String FIRST = "model-00001-of-00002.safetensors";
    private static final String SECOND = "model-00002-of-00002.safetensors";
    private static final String INDEX = "model.safetensors.index.json";

    @TempDir Path folder;

    @BeforeEach
    void copyShards() throws IOException {
        try (Stream<Path> files = Files.list(TestData.path("safetensors/sharded"))) {
            for (Path file : files.toList()) {
                Files.copy(file, folder.resolve(file.getFileName().toString()));
            }
        }
    }

    private static void open(Path path) {
        try (Arena arena = Arena.ofConfined()) {
            SafetensorsCheckpoint.open(path, arena);
        }
    }

    private void index(String... entries) throws IOException {
        Files.writeString(folder.resolve(INDEX), "{\"weight_map\":{" + String.join(",", entries) + "}}");
    }

    @Test
    void readsShards() {
        try (Arena arena = Arena.ofConfined()) {
            SafetensorsCheckpoint checkpoint = SafetensorsCheckpoint.open(folder, arena);
            assertThat(checkpoint.names()).containsExactlyInAnyOrder("a", "b", "c");
            assertThat(checkpoint.files()).containsExactly(folder.resolve(FIRST), folder.resolve(SECOND));
            assertThat(checkpoint.tensor("b").getFloat(2)).isEqualTo(2f);
            assertThat(checkpoint.tensor("c").shape()).containsExactly(2, 3);
            assertThat(checkpoint.metadata()).containsEntry("format", "pt");
            assertThatThrownBy(() -> checkpoint.tensor("d")).hasMessage(folder + ": has no tensor d");
        }
        assertThat(SafetensorsCheckpoint.isCheckpoint(folder)).isTrue();
    }

    @Test
    void readsSingleFilesAndIndexesByPath() throws IOException {
        open(folder.resolve(INDEX));
        Files.copy(folder.resolve(FIRST), folder.resolve("adapter_model.safetensors"));
        try (Arena arena = Arena.ofConfined()) {
            Path adapter = folder.resolve("adapter_model.safetensors");
            assertThat(SafetensorsCheckpoint.open(adapter, arena).names()).containsExactlyInAnyOrder("a", "c");
        }
    }

    @Test
    void theSingleFileWins() throws IOException {
        Files.copy(folder.resolve(FIRST), folder.resolve("model.safetensors"));
        try (Arena arena = Arena.ofConfined()) {
            assertThat(SafetensorsCheckpoint.open(folder, arena).names()).containsExactlyInAnyOrder("a", "c");
        }
    }

    @Test
    void contradictionsAreNamed() throws IOException {
        index(
                "\"a\":\"" + FIRST + "\"",
                "\"c\":\"" + FIRST + "\"",
                "\"b\":\"" + SECOND + "\"",
                "\"d\":\"" + SECOND + "\"");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(FileFormatException.class)
                .hasMessage(
                        folder.resolve(INDEX)
                                + ": tensor d should be in model-00002-of-00002.safetensors, which does not have it");
        index("\"a\":\"" + FIRST + "\"", "\"b\":\"" + SECOND + "\"");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(FileFormatException.class)
                .hasMessageEndingWith(FIRST + " has the tensor c, which the index does not name");
        index("\"a\":\"" + FIRST + "\"", "\"c\":\"model-00003.safetensors\"");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("tensor c should be in")
                .hasMessageEndingWith("model-00003.safetensors, which does not exist");
    }

    @Test
    void anIndexCannotReachOutsideItsDirectory() throws IOException {
        for (String name : new String[] {"../x.safetensors", "/etc/x.safetensors", "x.bin", "..\\\\x.safetensors"}) {
            index("\"a\":\"" + name + "\"");
            assertThatThrownBy(() -> open(folder))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("weight_map entry a: expected the name of a .safetensors file beside");
        }
    }

    @Test
    void brokenIndexes() throws IOException {
        Files.writeString(folder.resolve(INDEX), "{\"weight_map\":\n{\"a\":\"x\",}}");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("not valid JSON")
                .hasMessageContaining("at line 2");
        Files.writeString(folder.resolve(INDEX), "{}");
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("expected a non-empty object weight_map");
        Files.writeString(folder.resolve(INDEX), "[]");
        assertThatThrownBy(() -> open(folder)).hasMessageEndingWith("expected a JSON object, found an array");
    }

    @Test
    void directoriesWithoutWeights() throws IOException {
        Files.delete(folder.resolve(INDEX));
        assertThatThrownBy(() -> open(folder))
                .isInstanceOf(VectuneException.class)
                .hasMessage(
                        folder
                                + ": expected model.safetensors or model.safetensors.index.json (diffusers:"
                                + " diffusion_pytorch_model for model), found "
                                + FIRST
                                + ", "
                                + SECOND
                                + "; name such a file itself");
    }
}
