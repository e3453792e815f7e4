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
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;
import tools.jackson.databind.node.ObjectNode;

/// Quantized directories with one thing wrong: every command that opens them names it in one line.
class DamagedCheckpointTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final String LAYER = "model.layers.0.self_attn.q_proj";

    @TempDir private Path folder;
    private int copies;

    private void refused(Path model, String... parts) {
        for (String[] command :
                new String[][] {
                    {"logits", "--model", model.toString(), "--tokens", "1,2", "--out", path("logits.safetensors")},
                    {"dequantize", "--model", model.toString(), "--out", path("dense")}
                }) {
            fails(command, parts);
        }
        assertThat(folder.resolve("dense")).doesNotExist();
        assertThat(folder.resolve("logits.safetensors")).doesNotExist();
    }

    private void fails(String[] command, String... parts) {
        StringWriter errText = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(new StringWriter()));
        line.setErr(new PrintWriter(errText));
        int code = line.execute(command);
        assertThat(code).as(errText.toString()).isEqualTo(1);
        assertThat(errText.toString().lines().filter(text -> text.startsWith("vectune: ")).toList())
                .singleElement()
                .asString()
                .contains(parts);
        assertThat(errText.toString()).doesNotContain("\tat ");
    }

    private String path(String name) {
        return folder.resolve(name).toString();
    }

    /// A copy of a golden directory with changed tensors and a changed config.json.
    private Path copy(String name, BiConsumer<Map<String, Tensor>, Arena> tensors, Consumer<ObjectNode> config) {
        Path from = TEST_DATA.resolve("roundtrip").resolve(name);
        Path to = folder.resolve(name + copies++);
        try (Arena arena = Arena.ofConfined()) {
            Files.createDirectory(to);
            ObjectNode json = StrictJson.readObject(from.resolve("config.json"));
            config.accept(json);
            StrictJson.write(to.resolve("config.json"), json);
            SafetensorsFile source = SafetensorsFile.open(from.resolve("model.safetensors"), arena);
            Map<String, Tensor> copied = new LinkedHashMap<>();
            for (String key : source.names()) {
                Tensor tensor = source.tensor(key);
                Tensor own = Tensor.allocate(arena, tensor.dtype(), tensor.shape());
                MemorySegment.copy(tensor.segment(), 0, own.segment(), 0, tensor.byteSize());
                copied.put(key, own);
            }
            tensors.accept(copied, arena);
            SafetensorsWriter.write(to.resolve("model.safetensors"), copied, Map.of("format", "pt"));
            return to;
        } catch (IOException failure) {
            throw new AssertionError(failure);
        }
    }

    private Path damaged(String name, BiConsumer<Map<String, Tensor>, Arena> tensors) {
        return copy(name, tensors, config -> {});
    }

    private Path declared(String name, Consumer<ObjectNode> config) {
        return copy(name, (tensors, arena) -> {}, config);
    }

    private static Tensor get(Map<String, Tensor> tensors, String key) {
        return Objects.requireNonNull(tensors.get(LAYER + "." + key), key);
    }

    private static Tensor text(Arena arena, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        Tensor tensor = Tensor.allocate(arena, DType.U8, bytes.length);
        MemorySegment.copy(bytes, 0, tensor.segment(), Tensor.BYTE, 0, bytes.length);
        return tensor;
    }

    private static ObjectNode quantization(ObjectNode config) {
        return (ObjectNode) config.get("quantization_config");
    }

    private static ObjectNode hqqWeights(ObjectNode config) {
        return (ObjectNode) quantization(config).get("quant_config").get("weight_quant_params");
    }

    @Test
    void namesDamagedHqqTensors() {
        refused(
                damaged(
                        "hqq3-safetensors",
                        (tensors, arena) -> get(tensors, "W_q").segment().set(Tensor.INT, 8, 0xC0000000)),
                LAYER + ".W_q: expected 30 bits a word, found more in word 2; the file is damaged");
        refused(
                damaged("hqq4-transformers", (tensors, arena) -> get(tensors, "scale").setFloat(3, Float.NaN)),
                LAYER
                        + ".scale: expected finite values, found NaN at group 3; the file is damaged: fetch it or quantize");
        refused(
                damaged(
                        "hqq4-transformers",
                        (tensors, arena) -> get(tensors, "zero").setFloat(0, Float.NEGATIVE_INFINITY)),
                LAYER + ".zero: expected finite values, found -Infinity at group 0");
        refused(
                damaged(
                        "hqq4-transformers",
                        (tensors, arena) -> tensors.put(LAYER + ".W_q", Tensor.allocate(arena, DType.U8, 31, 64))),
                LAYER + ".W_q: expected U8 of 2048 bytes for 4bit_u8 of [64, 64], found U8[31, 64]");
        refused(
                damaged(
                        "hqq4-transformers",
                        (tensors, arena) -> get(tensors, "group_size").segment().set(Tensor.INT, 0, 48)),
                LAYER + ".group_size: weight (64, 64): expected a group size that divides");
    }

    @Test
    void namesDamagedFourBitTensors() {
        refused(
                damaged("nf4", (tensors, arena) -> get(tensors, "weight.absmax").setFloat(5, Float.POSITIVE_INFINITY)),
                LAYER + ".weight.absmax",
                "found Infinity at [5]");
        refused(
                damaged(
                        "nf4",
                        (tensors, arena) -> tensors.put(LAYER + ".weight", Tensor.allocate(arena, DType.U8, 2047, 1))),
                LAYER + ".weight",
                "expected 2048 bytes of codes for (64, 64), found 2047; the file is damaged");
        refused(
                damaged(
                        "nf4",
                        (tensors, arena) ->
                                tensors.put(
                                        LAYER + ".weight.quant_state.bitsandbytes__nf4",
                                        text(
                                                arena,
                                                "{\"quant_type\": \"nf5\", \"blocksize\": 64, \"dtype\": \"bfloat16\","
                                                        + " \"shape\": [64, 64]}"))),
                LAYER + ".weight.quant_state.bitsandbytes__nf4: quant_type: expected nf4 or fp4, found nf5");
        refused(
                damaged("int8", (tensors, arena) -> get(tensors, "SCB").setFloat(7, Float.NaN)),
                LAYER + ".SCB",
                "found NaN at [7]");
    }

    @Test
    void namesConfigurationsThatContradictTheTensors() {
        refused(
                declared("hqq4-transformers", config -> hqqWeights(config).put("nbits", 8)),
                ".W_q: quantization_config of config.json says nbits 8, but the tensor is of 4 bits; the two are not of one");
        refused(
                declared("hqq4-transformers", config -> hqqWeights(config).put("group_size", 32)),
                "says group_size 32, but the tensor is in groups of 64");
        refused(
                declared("hqq4-transformers", config -> hqqWeights(config).put("axis", 0)),
                "says axis 0, but the tensor is of axis 1");
        refused(
                declared("hqq4-transformers", config -> quantization(config).put("quant_method", "bitsandbytes")),
                "says quant_method bitsandbytes, but the tensor is of hqq");
        refused(
                declared("nf4", config -> quantization(config).put("bnb_4bit_quant_type", "fp4")),
                ".weight: quantization_config of config.json says bnb_4bit_quant_type fp4, but the tensor is nf4");
        refused(
                declared("int8", config -> quantization(config).put("quant_method", "hqq")),
                "says quant_method hqq, but the tensor is of bitsandbytes");
        String[] logits = {
            "logits",
            "--model",
            declared("nf4", config -> quantization(config).put("quant_method", "gptq")).toString(),
            "--tokens",
            "1,2",
            "--out",
            path("logits.safetensors")
        };
        fails(logits, "quant_method: expected hqq or bitsandbytes, found gptq");
    }

    @Test
    void namesADenseModelThatCallsItselfQuantized() throws IOException {
        Path dense = folder.resolve("plain");
        Files.createDirectory(dense);
        Path from = TEST_DATA.resolve("models/llama");
        try (DirectoryStream<Path> files = Files.newDirectoryStream(from)) {
            for (Path file : files) {
                Files.copy(file, dense.resolve(String.valueOf(file.getFileName())));
            }
        }
        ObjectNode config = StrictJson.readObject(dense.resolve("config.json"));
        config.putObject("quantization_config").put("quant_method", "hqq");
        Files.delete(dense.resolve("config.json"));
        StrictJson.write(dense.resolve("config.json"), config);
        String[] logits = {"logits", "--model", dense.toString(), "--tokens", "1,2", "--out", path("l.safetensors")};
        fails(logits, "quantization_config of config.json says quant_method hqq, but all weights are dense");
    }

    @Test
    void namesForeignClassesAndUnusableWeights() throws IOException {
        Path pickled = folder.resolve("pickled");
        Files.createDirectory(pickled);
        Files.copy(TEST_DATA.resolve("roundtrip/hqq2-qmodel/config.json"), pickled.resolve("config.json"));
        Files.copy(TEST_DATA.resolve("hqq/files/qmodel-foreign.pt"), pickled.resolve("qmodel.pt"));
        refused(pickled, "qmodel.pt", "names __builtin__.print, which is neither plain data nor a tensor");
        fails(new String[] {"info", pickled.toString()}, "names __builtin__.print");

        Path file = folder.resolve("nan.safetensors");
        try (Arena arena = Arena.ofConfined()) {
            Tensor weight = Tensor.allocate(arena, DType.F32, 16, 64);
            weight.setFloat(3 * 64 + 9, Float.NaN);
            SafetensorsWriter.write(file, Map.of("up_proj.weight", weight), Map.of());
        }
        for (String method : new String[] {"hqq", "nf4", "int8"}) {
            String[] quantize = {
                "quantize", "--model", file.toString(), "--out", path("q.safetensors"), "--method", method
            };
            fails(quantize, "up_proj", "NaN at [3, 9]");
            assertThat(folder.resolve("q.safetensors")).doesNotExist();
            assertThat(folder.resolve("q.safetensors.quantization_report.json")).doesNotExist();
        }
    }
}
