package io.vectune.runtime.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OutputDirectoryTest {
    @TempDir Path folder;

    private static List<String> list(Path directory) throws IOException {
        try (Stream<Path> entries = Files.list(directory)) {
            return entries.map(entry -> directory.relativize(entry).toString()).sorted().toList();
        }
    }

    @Test
    void appearsWhole() throws IOException {
        Path target = folder.resolve("deep/out");
        try (OutputDirectory out = OutputDirectory.create(target, false)) {
            AtomicFile.write(out.path().resolve("sub/config.json"), "{}");
            assertThat(target).doesNotExist();
            out.commit();
        }
        assertThat(target.resolve("sub/config.json")).hasContent("{}");
        assertThat(list(folder.resolve("deep"))).containsExactly("out");
    }

    @Test
    void leavesNothingWhenGivenUp() throws IOException {
        Path target = folder.resolve("out");
        try (OutputDirectory out = OutputDirectory.create(target, false)) {
            AtomicFile.write(out.path().resolve("config.json"), "{}");
        }
        assertThat(list(folder)).isEmpty();
    }

    @Test
    void takesAnEmptyDirectory() throws IOException {
        Path target = Files.createDirectory(folder.resolve("out"));
        try (OutputDirectory out = OutputDirectory.create(target, false)) {
            AtomicFile.write(out.path().resolve("a"), "1");
            out.commit();
        }
        assertThat(list(target)).containsExactly("a");
        assertThat(list(folder)).containsExactly("out");
    }

    @Test
    void refusesWhatHoldsSomething() throws IOException {
        Path target = Files.createDirectory(folder.resolve("out"));
        Files.writeString(target.resolve("a"), "old");
        assertThatThrownBy(() -> OutputDirectory.create(target, false))
                .isInstanceOf(VectuneException.class)
                .hasMessage(
                        target
                                + ": the output directory is not empty; choose another or use --force to replace its"
                                + " files");
        assertThatThrownBy(() -> OutputDirectory.create(target.resolve("a"), true))
                .isInstanceOf(VectuneException.class)
                .hasMessage(target.resolve("a") + ": expected a directory for the result, found a file");
        assertThat(target.resolve("a")).hasContent("old");
    }

    @Test
    void forcedReplacesFilesAndStaleShardsOnly() throws IOException {
        Path target = Files.createDirectory(folder.resolve("out"));
        for (String name :
                new String[] {"a", "notes.txt", "model-00001-of-00002.safetensors", "model.safetensors.index.json"}) {
            Files.writeString(target.resolve(name), "old");
        }
        try (OutputDirectory out = OutputDirectory.create(target, true)) {
            AtomicFile.write(out.path().resolve("a"), "new");
            AtomicFile.write(out.path().resolve("model.safetensors"), "new");
            out.commit();
        }
        assertThat(list(target)).containsExactly("a", "model.safetensors", "notes.txt");
        assertThat(target.resolve("a")).hasContent("new");
        assertThat(target.resolve("notes.txt")).hasContent("old");
        assertThat(list(folder)).containsExactly("out");
    }

    @Test
    void anAdapterLeavesTheWeightsOfAModelAlone() throws IOException {
        Path target = Files.createDirectory(folder.resolve("out"));
        for (String name : new String[] {"model.safetensors", "adapter_model-00001-of-00002.safetensors"}) {
            Files.writeString(target.resolve(name), "old");
        }
        try (OutputDirectory out = OutputDirectory.create(target, true)) {
            AtomicFile.write(out.path().resolve("adapter_model.safetensors"), "new");
            out.commit();
        }
        assertThat(list(target)).containsExactly("adapter_model.safetensors", "model.safetensors");
        assertThat(target.resolve("model.safetensors")).hasContent("old");
    }

    @Test
    void jsonIsStrict() throws IOException {
        Path file = folder.resolve("config.json");
        Files.writeString(file, "{\"a\": 1,\n \"a\": 2}");
        assertThatThrownBy(() -> StrictJson.readObject(file))
                .hasMessageStartingWith(file + ": not valid JSON: Duplicate Object property \"a\" at line 2");
        Files.writeString(file, "{} x");
        assertThatThrownBy(() -> StrictJson.readObject(file)).hasMessageStartingWith(file + ": not valid JSON: ");
        Files.writeString(file, "");
        assertThatThrownBy(() -> StrictJson.readObject(file))
                .hasMessage(file + ": expected a JSON object, found nothing");
        Files.write(file, new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'});
        assertThatThrownBy(() -> StrictJson.readObject(file)).hasMessageContaining("expected text in UTF-8");
        StrictJson.write(file, StrictJson.parseObject("{\"b\":[1]}", "x"));
        assertThat(StrictJson.readObject(file).get("b").get(0).asInt()).isEqualTo(1);
    }

    @Test
    void whatTheSystemReportsBecomesOneLine() {
        Path file = Path.of("out.bin");
        assertThat(FileFailure.writing(file, new IOException("No space left on device")))
                .hasMessage(
                        "out.bin: cannot be written: the disk is full (No space left on device); nothing was changed"
                                + " there");
        assertThat(FileFailure.writing(file, new FileSystemException("x", null, "Disk quota exceeded")))
                .hasMessageContaining("the disk is full (Disk quota exceeded)");
        assertThat(FileFailure.writing(file, new AccessDeniedException("out.bin")))
                .hasMessageContaining("cannot be written: permission denied");
        assertThat(FileFailure.reading(file, new NoSuchFileException("out.bin")))
                .hasMessage("out.bin: cannot be read: no such file or directory");
    }

    @Test
    void unfinishedFilesAreCalledWhatTheyWillBe() {
        Path target = folder.resolve("deep/out");
        try (OutputDirectory out = OutputDirectory.create(target, false)) {
            Path file = out.path().resolve("model.safetensors");
            assertThat(FileFailure.writing(file, new IOException("No space left on device")))
                    .hasMessage(
                            target
                                    + "/model.safetensors: cannot be written: the disk is full (No space left on device);"
                                    + " nothing was changed there");
        }
        assertThat(FileFailure.writing(Path.of("a.b/.hidden"), new IOException("x")))
                .hasMessageStartingWith(Path.of("a.b/.hidden") + ": ");
    }
}
