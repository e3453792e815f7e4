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

/// The commands as a user runs them, on the tiny model: what they write, what they print, what they refuse.
class CommandLineTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final String MODEL = TEST_DATA.resolve("tiny-llama").toString();

    @TempDir private Path directory;

    private String out = "";
    private String err = "";
    private String rows = "";

    @BeforeEach
    void writeRows() throws IOException {
        List<String> lines =
                Files.readAllLines(TEST_DATA.resolve("tiny-llama/task/train.jsonl"), StandardCharsets.UTF_8);
        rows = write("rows.jsonl", String.join("\n", lines.subList(0, 8)));
    }

    private String write(String name, String content) throws IOException {
        return Files.writeString(directory.resolve(name), content).toString();
    }

    private String path(String name) {
        return directory.resolve(name).toString();
    }

    private int run(String... arguments) {
        StringWriter outText = new StringWriter();
        StringWriter errText = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(outText));
        line.setErr(new PrintWriter(errText));
        int code = line.execute(arguments);
        out = outText.toString();
        err = errText.toString();
        return code;
    }

    private int tune(String... more) {
        List<String> arguments = new ArrayList<>(List.of("tune", "--model", MODEL));
        arguments.addAll(List.of(more));
        return run(arguments.toArray(String[]::new));
    }

    private void assertOneLine(int expectedCode, int code, String... parts) {
        assertThat(code).as(err).isEqualTo(expectedCode);
        List<String> messages = err.lines().filter(line -> line.startsWith("vectune: ")).toList();
        assertThat(messages).as(err).hasSize(1);
        assertThat(messages.getFirst()).contains(parts);
        assertThat(err).doesNotContain("\tat ");
    }

    @Test
    void quantizesEvaluatesAndDequantizes() {
        assertThat(run("quantize", "--model", MODEL, "--out", path("q"), "--method", "hqq", "--json")).as(err).isZero();
        assertThat(out).contains("\"layers\":28").hasLineCount(1);
        assertThat(run("eval", "--model", path("q"), "--data", rows, "--json")).as(err).isZero();
        assertThat(out).contains("\"loss\":").contains("\"tokens\":72");
        assertThat(run("dequantize", "--model", path("q"), "--out", path("d"))).as(err).isZero();
        assertThat(run("info", path("d"), "--json")).isZero();
        assertThat(out).contains("\"parameters\":861312");
    }

    @Test
    void tunesMergesAndGenerates() {
        assertThat(
                        tune(
                                "--data",
                                rows,
                                "--method",
                                "lora",
                                "--rank",
                                "4",
                                "--steps",
                                "2",
                                "--batch-size",
                                "4",
                                "--out",
                                path("a"),
                                "--log",
                                path("log.jsonl"),
                                "--json"))
                .as(err)
                .isZero();
        assertThat(out).contains("\"steps\":2").hasLineCount(1);
        assertThat(directory.resolve("a/adapter_config.json")).exists();
        assertThat(directory.resolve("a/adapter_model.safetensors")).exists();
        assertThat(directory.resolve("a/report.html")).content().contains("<polyline");
        assertThat(directory.resolve("log.jsonl")).content().hasLineCount(2).contains("\"loss\":");
        assertThat(run("merge", "--model", MODEL, "--adapter", path("a"), "--out", path("m"))).as(err).isZero();
        String[] generate = {"--prompt", "Mia was in the garden.", "--max-tokens", "8", "--json"};
        assertThat(
                        run(
                                "generate",
                                "--model",
                                path("m"),
                                generate[0],
                                generate[1],
                                generate[2],
                                generate[3],
                                generate[4]))
                .as(err)
                .isZero();
        assertThat(out).contains("\"tokens\":[");
        assertThat(
                        run(
                                "convert",
                                "--in",
                                path("a"),
                                "--model",
                                MODEL,
                                "--to",
                                "diffusers",
                                "--out",
                                path("a.safetensors")))
                .as(err)
                .isZero();
        assertThat(run("info", path("a.safetensors"))).isZero();
        assertThat(out).contains("LoRA file");
    }

    @Test
    void startsFromCalibrationData() {
        String[] start = {"--data", rows, "--calibration", rows, "--steps", "1", "--batch-size", "2", "--rank", "2"};
        List<String> eva = new ArrayList<>(List.of(start));
        eva.addAll(List.of("--method", "eva", "--out", path("eva")));
        assertThat(tune(eva.toArray(String[]::new))).as(err).isZero();
        assertThat(directory.resolve("eva/adapter_config.json")).content().contains("\"init_lora_weights\" : \"eva\"");
        assertThat(err).contains("q_proj").contains("loraA");
        List<String> pissa = new ArrayList<>(List.of(start));
        pissa.addAll(List.of("--method", "pissa", "--out", path("pissa")));
        assertOneLine(2, tune(pissa.toArray(String[]::new)), "pissa starts without data");
        assertOneLine(
                2,
                tune("--data", rows, "--method", "eva", "--out", path("none"), "--steps", "1"),
                "expected calibration data");
        assertOneLine(
                2,
                tune(
                        "--data",
                        rows,
                        "--init-from",
                        path("eva"),
                        "--calibration",
                        rows,
                        "--out",
                        path("none"),
                        "--steps",
                        "1"),
                "--calibration",
                "--init-from");
    }

    @Test
    void refusesToStartOverACheckpoint() throws IOException {
        String[] common = {
            "--data", rows, "--method", "lora", "--rank", "4", "--batch-size", "2", "--no-shuffle", "--steps", "4"
        };
        Path broken = directory.resolve("broken/checkpoint.safetensors");
        Files.createDirectories(broken.getParent());
        Files.writeString(broken, "no checkpoint");
        List<String> resumed = new ArrayList<>(List.of(common));
        resumed.addAll(List.of("--out", path("broken")));
        assertOneLine(1, tune(resumed.toArray(String[]::new)), "--resume", "--force");
        resumed.add("--resume");
        assertOneLine(1, tune(resumed.toArray(String[]::new)), "checkpoint.safetensors");
    }

    @Test
    void refusesBadData() throws IOException {
        String[] start = {"--method", "lora", "--out", path("a"), "--data"};
        assertOneLine(
                1, tune(start[0], start[1], start[2], start[3], start[4], write("empty.jsonl", "")), "empty.jsonl");
        assertOneLine(
                1,
                tune(
                        start[0],
                        start[1],
                        start[2],
                        start[3],
                        start[4],
                        write("bad.jsonl", "{\"text\":\"a b\"}\n{\"text\":")),
                "bad.jsonl",
                "line 2");
        assertThat(err).doesNotContain("Source:");
        assertOneLine(1, tune(start[0], start[1], start[2], start[3], start[4], path("absent.jsonl")), "absent.jsonl");
        assertThat(directory.resolve("a")).doesNotExist();
    }

    @Test
    void refusesBadOptions() {
        String[] start = {"--data", rows, "--out", path("a")};
        assertOneLine(
                2, tune(start[0], start[1], start[2], start[3], "--method", "lora", "--rank", "0"), "--rank", "0");
        assertOneLine(
                2,
                tune(start[0], start[1], start[2], start[3], "--method", "lora", "--targets", "q_prj"),
                "q_prj",
                "q_proj");
        assertOneLine(2, tune(start[0], start[1], start[2], start[3], "--method", "lra"), "lra", "lora");
        assertOneLine(
                2,
                tune(start[0], start[1], start[2], start[3], "--method", "lora", "--batch-size", "2000000000"),
                "--batch-size",
                "2000000000");
        assertOneLine(
                2, tune(start[0], start[1], start[2], start[3], "--method", "lora", "--quantize", "hqq7"), "hqq7");
        assertOneLine(2, tune(start[0], start[1], start[2], start[3]), "--method");
        assertOneLine(
                2,
                run("logits", "--model", MODEL, "--tokens", "1,9999", "--out", path("l.safetensors")),
                "9999",
                "575");
        assertOneLine(2, run("quantize", "--model", MODEL, "--out", path("q"), "--method", "hqq", "--bits", "7"), "7");
        assertOneLine(
                2,
                tune(start[0], start[1], start[2], start[3], "--method", "lora", "--rank", "2000000000"),
                "--rank",
                "memory");
        assertOneLine(
                1,
                tune(start[0], start[1], start[2], start[3], "--method", "lora", "--lr", "1e39", "--steps", "1"),
                "step 1",
                "not finite");
        assertThat(directory.resolve("a")).doesNotExist();
    }

    @Test
    void refusesOutputThatHoldsSomething() throws IOException {
        Files.createDirectories(directory.resolve("full"));
        Files.writeString(directory.resolve("full/file"), "kept");
        assertOneLine(
                1, run("quantize", "--model", MODEL, "--out", path("full"), "--method", "hqq"), "full", "--force");
        assertOneLine(1, tune("--data", rows, "--method", "lora", "--out", path("full")), "full", "--force");
        assertThat(directory.resolve("full/file")).hasContent("kept");
    }

    @Test
    void refusesToReplaceWhatItReads() throws IOException {
        Path model = Files.createDirectories(directory.resolve("source"));
        for (String name : List.of("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")) {
            Files.copy(TEST_DATA.resolve("tiny-llama").resolve(name), model.resolve(name));
        }
        byte[] weights = Files.readAllBytes(model.resolve("model.safetensors"));
        String source = model.toString();
        String file = model.resolve("model.safetensors").toString();
        String link = Files.createSymbolicLink(directory.resolve("link"), model).toString();
        assertOneLine(2, run("logits", "--model", source, "--tokens", "1", "--out", file, "--force"), "--out", "input");
        assertOneLine(
                2, run("quantize", "--model", source, "--method", "hqq", "--out", link, "--force"), "--out", "input");
        assertOneLine(
                2, run("quantize", "--model", file, "--method", "hqq", "--out", file, "--force"), "--out", "input");
        assertOneLine(
                2, run("quantize", "--model", file, "--method", "hqq", "--out", source, "--force"), "--out", "input");
        assertOneLine(2, run("dequantize", "--model", source, "--out", source, "--force"), "--out", "input");
        assertOneLine(
                2,
                run("tune", "--model", source, "--data", rows, "--method", "lora", "--out", source, "--force"),
                "--out",
                "input");
        String kept = Files.readString(Path.of(rows));
        String[] tune = {"tune", "--model", source, "--data", rows, "--method", "lora", "--out", path("a"), "--log"};
        List<String> arguments = new ArrayList<>(List.of(tune));
        arguments.add(rows);
        assertOneLine(2, run(arguments.toArray(String[]::new)), "--log", "input");
        arguments.set(arguments.size() - 1, write("other.txt", "kept"));
        assertOneLine(2, run(arguments.toArray(String[]::new)), "--log", "--force");
        assertThat(Path.of(rows)).hasContent(kept);
        assertThat(directory.resolve("other.txt")).hasContent("kept");
        assertThat(Files.readAllBytes(model.resolve("model.safetensors"))).isEqualTo(weights);
        assertThat(directory.resolve("a")).doesNotExist();
    }

    @Test
    void refusesAPlaceThatCannotBeWrittenBeforeAnyWork() {
        String under = rows + "/deeper/out";
        assertOneLine(1, tune("--data", rows, "--method", "lora", "--out", under), under, "not a directory");
        assertThat(err).doesNotContain("step");
        assertOneLine(1, run("quantize", "--model", MODEL, "--out", under, "--method", "hqq"), under);
    }

    @Test
    void refusesBrokenModels() throws IOException {
        assertOneLine(1, run("info", path("nothing")), "nothing");
        assertOneLine(1, run("eval", "--model", path("nothing"), "--data", rows), "nothing");
        Path model = Files.createDirectories(directory.resolve("model"));
        Path config = TEST_DATA.resolve("tiny-llama/config.json");
        byte[] weights = Files.readAllBytes(TEST_DATA.resolve("tiny-llama/model.safetensors"));
        Files.copy(config, model.resolve("config.json"));
        Files.write(model.resolve("model.safetensors"), Arrays.copyOf(weights, weights.length - 100));
        assertOneLine(1, run("eval", "--model", model.toString(), "--data", rows), "model.safetensors", "100");
        Files.write(model.resolve("model.safetensors"), weights);
        Files.writeString(
                model.resolve("config.json"), Files.readString(config).replace("\"hidden_size\"", "\"hidden\""));
        assertOneLine(1, run("eval", "--model", model.toString(), "--data", rows), "config.json", "hidden_size");
    }

    @Test
    void refusesAnAdapterOfAnotherModel() {
        String other = TEST_DATA.resolve("peft/adapters/qwen3-dora").toString();
        assertOneLine(1, run("eval", "--model", MODEL, "--adapter", other, "--data", rows), "lora_");
    }
}
