package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

class VectuneTest {
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
    void unknownOptionIsWrongUsage() {
        assertThat(run("doctor", "--jsn")).isEqualTo(2);
        assertThat(err.toString()).contains("--jsn").contains("vectune doctor --help");
    }
}
