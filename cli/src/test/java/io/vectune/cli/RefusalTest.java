package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/// Options out of range, results that two runs want, properties that make no sense.
class RefusalTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final String MODEL = TEST_DATA.resolve("tiny-llama").toString();
    private static final String ROWS = TEST_DATA.resolve("tiny-llama/task/train.jsonl").toString();

    @TempDir private Path directory;

    private String err = "";

    private int run(String... arguments) {
        StringWriter outText = new StringWriter();
        StringWriter errText = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(outText));
        line.setErr(new PrintWriter(errText));
        int code = line.execute(arguments);
        err = errText.toString();
        return code;
    }

    private int tune(String name, String... more) {
        List<String> arguments = new ArrayList<>(List.of("tune", "--model", MODEL, "--data", ROWS, "--method", "lora"));
        arguments.addAll(List.of("--steps", "2", "--batch-size", "2", "--rank", "2", "--no-shuffle"));
        arguments.addAll(List.of("--out", directory.resolve(name).toString()));
        arguments.addAll(List.of(more));
        return run(arguments.toArray(String[]::new));
    }

    @Test
    void contextsAreNamed() {
        for (String context : List.of("2000000000", "-1", "0")) {
            assertThat(run("generate", "--model", MODEL, "--chat", "--context", context)).isEqualTo(2);
            assertThat(err).contains("--context: expected 1 to ", "found " + context).doesNotContain("\tat ");
            assertThat(run("generate", "--model", MODEL, "--prompt", "a", "--context", context)).isEqualTo(2);
            assertThat(err).contains("--context: expected 1 to ");
        }
        assertThat(run("generate", "--model", MODEL, "--prompt", "a", "--system", "b")).isEqualTo(2);
        assertThat(err).contains("--system belongs to --message and --chat");
    }

    @Test
    void aSecondRunToOnePlaceIsRefused() {
        Path target = directory.resolve("a");
        try (OutputLock _ = OutputLock.of(target)) {
            assertThatThrownBy(() -> OutputLock.of(target)).isInstanceOf(VectuneException.class);
            assertThat(tune("a")).isEqualTo(1);
            assertThat(err).contains("another run writes its result there");
        }
        assertThat(tune("a")).as(err).isZero();
        assertThat(directory.resolve(".a.lock")).doesNotExist();
    }

    @Test
    void noResultTakesThePlaceOfAnAdapterThatIsRead() {
        assertThat(tune("a")).as(err).isZero();
        String adapter = directory.resolve("a").toString();
        String[][] commands = {
            {"tune", "--data", ROWS, "--init-from", adapter, "--steps", "1"}, {"merge", "--adapter", adapter}
        };
        for (String[] command : commands) {
            List<String> arguments = new ArrayList<>(List.of(command));
            arguments.addAll(List.of("--model", MODEL, "--out", adapter, "--force"));
            assertThat(run(arguments.toArray(String[]::new))).isEqualTo(2);
            assertThat(err).contains("--out " + adapter + ": expected a place of its own");
        }
        assertThat(directory.resolve("a/adapter_model.safetensors")).exists();
    }

    @Test
    void aQuantizedModelIsCalledThat() {
        String quantized = directory.resolve("q").toString();
        assertThat(run("quantize", "--model", MODEL, "--out", quantized, "--method", "nf4")).as(err).isZero();
        String again = directory.resolve("again").toString();
        assertThat(run("quantize", "--model", quantized, "--out", again, "--method", "nf4")).isEqualTo(1);
        assertThat(err).contains("quantized already", "vectune dequantize");
    }

    @Test
    void propertiesOfTheKernelsAreUsage() throws IOException, InterruptedException {
        assertThat(start("--add-modules", "jdk.incubator.vector", "-Dvectune.kernels=foo")).isEqualTo(2);
        assertThat(err).contains("-Dvectune.kernels: expected scalar, vector or auto").doesNotContain("\tat ");
        assertThat(start("--add-modules", "jdk.incubator.vector", "-Dvectune.vectorBits=1000")).isEqualTo(2);
        assertThat(err).contains("-Dvectune.vectorBits: expected 128").doesNotContain("\tat ");
        assertThat(start()).as(err).isZero();
        assertThat(err)
                .containsOnlyOnce("--add-modules jdk.incubator.vector")
                .contains("warning: the slow scalar tier");
    }

    private int start(String... options) throws IOException, InterruptedException {
        List<String> command =
                new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin/java").toString()));
        command.addAll(List.of(options));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Vectune.class.getName(), "info", MODEL));
        Process process = new ProcessBuilder(command).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
        try (InputStream stream = process.getErrorStream()) {
            err = new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        }
        return process.waitFor();
    }

    @Test
    void otherErrorsAreOneLine() {
        StringWriter text = new StringWriter();
        Error broken = new ExceptionInInitializerError(new IllegalStateException("no\nkernels"));
        assertThat(Failures.broken(broken, new PrintWriter(text), false)).isEqualTo(1);
        assertThat(text.toString()).contains("vectune: ", "no kernels").hasLineCount(1);
    }
}
