package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;
import tools.jackson.databind.JsonNode;

/// Quantizing a model with a correction, under a budget, and merging into quantized weights, as a user runs them.
class QuantizeCommandTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final String MODEL = TEST_DATA.resolve("tiny-llama").toString();
    private static final String TOKENS = "3,14,15,92,65,35,89,79,32,38";

    @TempDir private Path directory;

    private String out = "";
    private String err = "";
    private String rows = "";
    private int files;

    @BeforeEach
    void writeRows() throws IOException {
        List<String> lines =
                Files.readAllLines(TEST_DATA.resolve("tiny-llama/task/train.jsonl"), StandardCharsets.UTF_8);
        rows = Files.writeString(directory.resolve("rows.jsonl"), String.join("\n", lines.subList(0, 8))).toString();
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

    private void succeeds(String... arguments) {
        assertThat(run(arguments)).as(err).isZero();
    }

    private void refuses(int code, String part, String... arguments) {
        assertThat(run(arguments)).as(err).isEqualTo(code);
        assertThat(err.lines().filter(line -> line.startsWith("vectune: ")).toList())
                .singleElement()
                .asString()
                .contains(part);
        assertThat(err).doesNotContain("\tat ");
    }

    private float[] logits(String... arguments) {
        String file = path("logits" + files++ + ".safetensors");
        succeeds(with(new String[] {"logits", "--tokens", TOKENS, "--out", file}, arguments));
        try (Arena arena = Arena.ofConfined()) {
            Tensor tensor = SafetensorsFile.open(Path.of(file), arena).tensor("logits");
            float[] values = new float[(int) tensor.elements()];
            for (int i = 0; i < values.length; i++) {
                values[i] = tensor.getFloat(i);
            }
            return values;
        }
    }

    private static double distance(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
        }
        return Math.sqrt(sum);
    }

    @Test
    void correctsWhatQuantizationLost() {
        succeeds(
                "quantize",
                "--model",
                MODEL,
                "--out",
                path("q"),
                "--method",
                "hqq",
                "--bits",
                "2",
                "--correction-rank",
                "8",
                "--calibration",
                rows);
        assertThat(out).contains("correction of rank 8").contains("corrected");
        JsonNode report = StrictJson.readObject(directory.resolve("q/quantization_report.json"));
        assertThat(report.get("layers").asInt()).isEqualTo(28);
        assertThat(report.get("reports").get(0).get("corrected").asDouble()).isBetween(0.01, 1.0);
        assertThat(report.get("bits_per_weight").asDouble()).isBetween(2.5, 2.6);
        float[] dense = logits("--model", MODEL);
        double plain = distance(dense, logits("--model", path("q")));
        double corrected = distance(dense, logits("--model", path("q"), "--adapter", path("q/correction")));
        assertThat(corrected).isLessThan(0.9 * plain);
        succeeds(
                "tune",
                "--model",
                path("q"),
                "--init-from",
                path("q/correction"),
                "--data",
                rows,
                "--steps",
                "1",
                "--batch-size",
                "2",
                "--out",
                path("tuned"));
        assertThat(directory.resolve("tuned/adapter_model.safetensors")).exists();
    }

    @Test
    void keepsABudget() {
        for (String more : List.of("", rows)) {
            String name = "q" + more.length();
            String[] base = {
                "quantize", "--model", MODEL, "--out", path(name), "--method", "hqq", "--target-bits", "3", "--json"
            };
            succeeds(more.isEmpty() ? base : with(base, "--calibration", more));
            JsonNode report = StrictJson.parseObject(out, "report");
            assertThat(report.get("bits_per_weight").asDouble()).isBetween(2.8, 3.0);
            assertThat(report.get("reports").valueStream().map(layer -> layer.get("format").asString()).distinct())
                    .hasSizeGreaterThan(1);
            succeeds("eval", "--model", path(name), "--data", rows);
        }
        refuses(
                1,
                "--target-bits: expected at least",
                "quantize",
                "--model",
                MODEL,
                "--out",
                path("no"),
                "--method",
                "hqq",
                "--target-bits",
                "1.2");
    }

    /// 66 groups of 64 fill no whole bytes of 1 or 2 bits a weight: such a layer gets another width.
    @Test
    void keepsABudgetWhereNarrowWidthsDoNotPack() {
        String dense = path("dense.safetensors");
        try (Arena arena = Arena.ofShared()) {
            Tensor odd = Tensor.allocate(arena, DType.F32, 48, 88);
            Tensor even = Tensor.allocate(arena, DType.F32, 64, 128);
            for (Tensor tensor : List.of(odd, even)) {
                for (long i = 0; i < tensor.elements(); i++) {
                    tensor.setFloat(i, (float) Math.sin(i * 0.37 + tensor.elements()));
                }
            }
            SafetensorsWriter.write(Path.of(dense), Map.of("odd.weight", odd, "even.weight", even), Map.of());
        }
        succeeds(
                "quantize",
                "--model",
                dense,
                "--out",
                path("budget.safetensors"),
                "--method",
                "hqq",
                "--target-bits",
                "4",
                "--json");
        JsonNode report = StrictJson.parseObject(out, "report");
        assertThat(report.get("bits_per_weight").asDouble()).isBetween(3.0, 4.0);
        assertThat(report.get("reports").valueStream()).hasSize(2);
    }

    /// Embedding and head, tied or not, in every format: the file gives the products of the weights in memory.
    @Test
    void quantizesEmbeddingAndHeadOnRequest() {
        String[][] methods = {
            {"--method", "hqq", "--bits", "8"},
            {"--method", "hqq", "--bits", "3", "--axis", "0"},
            {"--method", "nf4"},
            {"--method", "int8"}
        };
        for (String model : List.of("tiny-llama", "models/llama-untied")) {
            boolean tied = model.equals("tiny-llama");
            String source = TEST_DATA.resolve(model).toString();
            float[] dense = logits("--model", source);
            for (int i = 0; i < methods.length; i++) {
                String name = (tied ? "tied" : "untied") + i;
                String include = tied ? "embed_tokens" : "embed_tokens,lm_head";
                succeeds(
                        with(
                                new String[] {"quantize", "--model", source, "--out", path(name), "--include", include},
                                methods[i]));
                assertThat(out).contains("model.embed_tokens");
                float[] quantized = logits("--model", path(name));
                succeeds("dequantize", "--model", path(name), "--out", path(name + "d"), "--dtype", "f32");
                float[] again = logits("--model", path(name + "d"));
                double size = distance(dense, new float[dense.length]);
                assertThat(distance(again, quantized)).isLessThan(1e-5 * size);
                assertThat(distance(dense, quantized)).isPositive();
                assertThat(relativeError(name, "model.embed_tokens")).isBetween(1e-4, i == 1 ? 0.25 : 0.11);
            }
        }
    }

    private double relativeError(String name, String layer) {
        JsonNode report = StrictJson.readObject(directory.resolve(name).resolve("quantization_report.json"));
        return report.get("reports")
                .valueStream()
                .filter(each -> each.get("layer").asString().equals(layer))
                .mapToDouble(each -> each.get("relative_error").asDouble())
                .findFirst()
                .orElseThrow();
    }

    @Test
    void mergesBackIntoTheQuantizedFormat() {
        for (String[] method :
                new String[][] {
                    {"--method", "hqq", "--bits", "8"},
                    {"--method", "nf4", "--double-quant"},
                    {"--method", "int8"}
                }) {
            String name = method[1] + method.length;
            succeeds(with(new String[] {"quantize", "--model", MODEL, "--out", path(name)}, method));
            String adapter = TEST_DATA.resolve("peft/adapters/tiny-llama-dora").toString();
            succeeds(
                    "merge",
                    "--model",
                    path(name),
                    "--adapter",
                    adapter,
                    "--out",
                    path(name + "-again"),
                    "--requantize",
                    "--json");
            JsonNode total = StrictJson.parseObject(out, "merge");
            assertThat(total.get("kept").asDouble()).isBetween(0.2, 1.1);
            succeeds("merge", "--model", path(name), "--adapter", adapter, "--out", path(name + "-dense"));
            assertThat(out).isEmpty();
            float[] wanted = logits("--model", path(name), "--adapter", adapter);
            double dense = distance(wanted, logits("--model", path(name + "-dense")));
            double again = distance(wanted, logits("--model", path(name + "-again")));
            assertThat(dense).isLessThan(again);
            assertThat(again).isLessThan(distance(wanted, new float[wanted.length]));
            succeeds("info", path(name + "-again"));
            assertThat(out).contains("quantized layers");
        }
        refuses(
                1,
                "expected quantized layers under the adapter to quantize again, found a dense model",
                "merge",
                "--model",
                MODEL,
                "--adapter",
                TEST_DATA.resolve("peft/adapters/tiny-llama-dora").toString(),
                "--out",
                path("x"),
                "--requantize");
    }

    @Test
    void quantizesAGgufFileAsTheDirectoryThatItDecodesTo() throws IOException {
        String gguf = TEST_DATA.resolve("gguf/decoder.gguf").toString();
        succeeds("dequantize", "--model", gguf, "--out", path("dense"));
        succeeds("quantize", "--model", path("dense"), "--method", "hqq", "--out", path("byHand"));
        succeeds("quantize", "--model", gguf, "--method", "hqq", "--out", path("direct"));
        for (String name : List.of("model.safetensors", "config.json", "tokenizer.json", "generation_config.json")) {
            assertThat(Path.of(path("direct"), name)).hasSameBinaryContentAs(Path.of(path("byHand"), name));
        }
        succeeds("generate", "--model", path("direct"), "--prompt", "one", "--max-tokens", "4", "--json");
        assertThat(StrictJson.mapper().readTree(out).path("arranged_bytes").isNumber()).isTrue();

        refuses(
                1,
                "blocks.gguf",
                "quantize",
                "--model",
                TEST_DATA.resolve("gguf/blocks.gguf").toString(),
                "--method",
                "hqq",
                "--out",
                path("none"));
        assertThat(directory.resolve("none")).doesNotExist();
        try (Stream<Path> entries = Files.list(directory)) {
            assertThat(entries.map(entry -> String.valueOf(entry.getFileName())))
                    .noneMatch(name -> name.startsWith("."));
        }
    }

    @Test
    void refusesOptionsThatDoNotGoTogether() {
        String[] base = {"quantize", "--model", MODEL, "--out", path("q"), "--method"};
        refuses(2, "--target-bits belongs to --method hqq", with(base, "nf4", "--target-bits", "3"));
        refuses(2, "leave --bits out", with(base, "hqq", "--bits", "4", "--target-bits", "3"));
        refuses(2, "--correction-rank: expected at least 1, found 0", with(base, "hqq", "--correction-rank", "0"));
        refuses(2, "--calibration serves", with(base, "hqq", "--calibration", rows));
        assertThat(directory.resolve("q")).doesNotExist();
    }

    private static String[] with(String[] base, String... more) {
        String[] all = Arrays.copyOf(base, base.length + more.length);
        System.arraycopy(more, 0, all, base.length, more.length);
        return all;
    }
}
