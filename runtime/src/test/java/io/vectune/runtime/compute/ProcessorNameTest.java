package io.vectune.runtime.compute;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProcessorNameTest {
    @TempDir private Path folder;

    @Test
    void readsTheFirstProcessor() throws IOException {
        Path cpuinfo = folder.resolve("cpuinfo");
        Files.writeString(
                cpuinfo,
                """
                processor\t: 0
                cpu family\t: 26
                model\t\t: 2
                model name\t: AMD EPYC
                processor\t: 1
                model name\t: another
                """);
        assertThat(ProcessorName.of(cpuinfo, "amd64")).isEqualTo("AMD EPYC (family 26, model 2)");
    }

    @Test
    void fallsBackToTheArchitecture() throws IOException {
        assertThat(ProcessorName.of(folder.resolve("absent"), "aarch64")).isEqualTo("aarch64");
        Path nameless = folder.resolve("cpuinfo");
        Files.writeString(nameless, "processor\t: 0\nBogoMIPS\t: 50.00\n");
        assertThat(ProcessorName.of(nameless, "aarch64")).isEqualTo("aarch64");
        assertThat(ProcessorName.current()).isNotBlank();
    }
}
