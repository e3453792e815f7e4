package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/// Interrupted runs of `vectune tune`: gone on with to the same bytes, refused where something differs, started again.
class ResumeTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final String MODEL = TEST_DATA.resolve("tiny-llama").toString();
    private static final String WEIGHTS = "adapter_model.safetensors";

    @TempDir private Path directory;

    private String err = "";
    private String rows = "";

    @BeforeEach
    void writeRows() throws IOException {
        List<String> lines =
                Files.readAllLines(TEST_DATA.resolve("tiny-llama/task/train.jsonl"), StandardCharsets.UTF_8);
        rows = Files.writeString(directory.resolve("rows.jsonl"), String.join("\n", lines.subList(0, 6))).toString();
    }

    private Path path(String first, String... more) {
        return directory.resolve(Path.of(first, more));
    }

    /// A short run with dropout and an order of its own each epoch: all that a checkpoint must bring back.
    private int tune(String out, String... more) {
        List<String> arguments =
                new ArrayList<>(
                        List.of(
                                "tune",
                                "--model",
                                MODEL,
                                "--data",
                                rows,
                                "--out",
                                path(out).toString(),
                                "--steps",
                                "5"));
        arguments.addAll(
                List.of("--batch-size", "2", "--method", "dora", "--rank", "2", "--dropout", "0.1", "--clip", "1"));
        arguments.addAll(Arrays.asList(more));
        StringWriter text = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(new StringWriter()));
        line.setErr(new PrintWriter(text));
        int code = line.execute(arguments.toArray(String[]::new));
        err = text.toString();
        return code;
    }

    /// A run that ends at its last step, as its adapter cannot be written; the checkpoint of step 3 stays.
    private void interrupt(String out, String... more) throws IOException {
        Path obstacle = path(out, WEIGHTS, "in the way");
        Files.createDirectories(obstacle);
        List<String> arguments = new ArrayList<>(List.of("--checkpoint-every", "3", "--force"));
        arguments.addAll(Arrays.asList(more));
        assertThat(tune(out, arguments.toArray(String[]::new))).as(err).isEqualTo(1);
        Files.delete(obstacle);
        Files.delete(obstacle.getParent());
        assertThat(path(out, "checkpoint.safetensors")).exists();
    }

    private void refuses(String part, String... more) {
        assertThat(tune("part", more)).as(err).isEqualTo(1);
        List<String> messages = err.lines().filter(line -> line.startsWith("vectune: ")).toList();
        assertThat(messages).as(err).hasSize(1);
        assertThat(messages.getFirst()).contains("checkpoint.safetensors: ", part);
    }

    @Test
    void anInterruptedRunGoesOnToTheSameBytes() throws IOException {
        assertThat(tune("whole")).as(err).isZero();
        interrupt("part", "--log", path("log.jsonl").toString());
        assertThat(tune("part", "--resume", "--log", path("log.jsonl").toString())).as(err).isZero();
        assertThat(err).contains("resumed after step 3 of 5");
        assertThat(path("part", WEIGHTS)).hasSameBinaryContentAs(path("whole", WEIGHTS));
        assertThat(path("part", "adapter_config.json")).hasSameTextualContentAs(path("whole", "adapter_config.json"));
        assertThat(path("part", "checkpoint.safetensors")).doesNotExist();
        assertThat(Files.readAllLines(path("log.jsonl")))
                .extracting(line -> line.replaceAll(".*\"step\":(\\d+).*", "$1"))
                .containsExactly("1", "2", "3", "4", "5");
    }

    @Test
    void anInterruptedRunOverAQuantizedModelGoesOnToTheSameBytes() throws IOException {
        assertThat(tune("whole", "--quantize", "nf4")).as(err).isZero();
        interrupt("part", "--quantize", "nf4");
        assertThat(tune("part", "--quantize", "nf4", "--resume", "--threads", "1")).as(err).isZero();
        assertThat(path("part", WEIGHTS)).hasSameBinaryContentAs(path("whole", WEIGHTS));
    }

    @Test
    void aChangedRunIsRefusedByName() throws IOException {
        interrupt("part", "--quantize", "hqq4");
        refuses("--resume", "--quantize", "hqq4");
        refuses("adapter lora_alpha: expected 32, found 8; resume", "--quantize", "hqq4", "--alpha", "32", "--resume");
        refuses("hqq 4-bit, group 64", "--quantize", "hqq3", "--resume");
        assertThat(err).contains("quantization: expected ", "hqq 3-bit, group 64");
        refuses("quantization: expected ", "--resume");
        refuses("learning rate: expected 0.5, found 2.0E-4; resume", "--quantize", "hqq4", "--lr", "0.5", "--resume");
        Files.writeString(path("rows.jsonl"), "{\"text\": \"Mia was in the garden.\"}\n");
        refuses("data: expected ", "--quantize", "hqq4", "--resume");
    }

    @Test
    void forceStartsAgainAndLeavesNothingOfTheOldRun() throws IOException {
        assertThat(tune("whole", "--lr", "1e-3")).as(err).isZero();
        interrupt("part");
        assertThat(tune("part", "--lr", "1e-3", "--force")).as(err).isZero();
        assertThat(err).doesNotContain("resumed");
        assertThat(path("part", WEIGHTS)).hasSameBinaryContentAs(path("whole", WEIGHTS));
        assertThat(path("part", "checkpoint.safetensors")).doesNotExist();

        // The old checkpoint is gone from the first step on, not only after the last.
        interrupt("again");
        Path obstacle = path("again", WEIGHTS, "in the way");
        Files.createDirectories(obstacle);
        assertThat(tune("again", "--force")).as(err).isEqualTo(1);
        assertThat(path("again", "checkpoint.safetensors")).doesNotExist();
    }
}
