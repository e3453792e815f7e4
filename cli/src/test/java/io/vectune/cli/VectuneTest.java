package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

class VectuneTest {
    @TempDir private Path folder;

    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int run(String... arguments) {
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(out));
        line.setErr(new PrintWriter(err));
        return line.execute(arguments);
    }

    @Test
    void doctorPrintsOneJsonObject() {
        assertThat(run("doctor", "--json")).isZero();
        assertThat(out.toString()).startsWith("{").contains("\"tier\":").hasLineCount(1);
    }

    @Test
    void benchRecordsAndChecks() throws IOException {
        String file = folder.resolve("baseline.json").toString();
        assertThat(run("bench", "--threads", "1", "--only", "matvec q4_0", "--record", file, "--json")).isZero();
        assertThat(out.toString()).contains("\"fma_peak_gflops\":", "\"share_percent\":").hasLineCount(1);
        String tenfold = Files.readString(folder.resolve("baseline.json")).replaceAll("(\"share\" : \\d+)", "$100");
        Files.writeString(folder.resolve("baseline.json"), tenfold);
        out.getBuffer().setLength(0);
        assertThat(run("bench", "--threads", "1", "--check", file)).isEqualTo(1);
        assertThat(out.toString()).contains("slower, measured 4 times");
        assertThat(err.toString()).contains("1 of 1 benchmarks are slower than recorded");
    }

    @Test
    void benchRefusesWhatItCannotMeasureOrCompare() throws IOException {
        assertThat(run("bench", "--only", "gemv")).isEqualTo(2);
        assertThat(err.toString()).contains("--only: expected a part of one of", "gemm f32", "\"gemv\"");
        assertThat(run("bench", "--only", "(")).isEqualTo(2);
        assertThat(run("bench", "--tolerance", "2")).isEqualTo(2);
        assertThat(run("bench", "--check", "a", "--record", "b")).isEqualTo(2);
        Path file = folder.resolve("baseline.json");
        assertThat(run("bench", "--check", file.toString())).isEqualTo(1);
        Files.writeString(
                file,
                "{\"threads\": 99, \"vector_bits\": 512, \"entries\":"
                        + " [{\"name\": \"token q4_0\", \"share\": 50, \"tolerance\": 0.5}]}");
        assertThat(run("bench", "--check", file.toString())).isEqualTo(1);
        assertThat(err.toString()).contains("recorded with 99 threads", "--record");
    }

    @Test
    void unknownOptionIsWrongUsage() {
        assertThat(run("doctor", "--jsn")).isEqualTo(2);
        assertThat(err.toString()).contains("--jsn").contains("vectune doctor --help");
    }
}
