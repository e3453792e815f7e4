package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

/// The commands on a Flux transformer as a user runs them: what they write, what they print, what they refuse.
class FluxCommandTest {
    private static final Path FLUX = Path.of(System.getProperty("vectune.testData", "../test-data")).resolve("flux");
    private static final String DEV = FLUX.resolve("dev").toString();
    private static final String CONTROL = FLUX.resolve("control.safetensors").toString();
    private static final String WIDE_INPUTS = FLUX.resolve("dev-control.safetensors").toString();
    private static final String PLAIN_INPUTS = FLUX.resolve("dev-plain.safetensors").toString();

    @TempDir private Path directory;

    private String out = "";
    private String err = "";

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

    private void succeed(String... arguments) {
        assertThat(run(arguments)).as(err).isZero();
    }

    private void refuse(int code, List<String> arguments, String... parts) {
        assertThat(run(arguments.toArray(String[]::new))).as(err).isEqualTo(code);
        List<String> messages = err.lines().filter(line -> line.startsWith("vectune: ")).toList();
        assertThat(messages).as(err).hasSize(1);
        assertThat(messages.getFirst()).contains(parts);
        assertThat(err).doesNotContain("\tat ");
    }

    private static float[] floats(String file, String name) {
        try (Arena arena = Arena.ofShared()) {
            Tensor tensor = SafetensorsFile.open(Path.of(file), arena).tensor(name);
            float[] values = new float[Math.toIntExact(tensor.elements())];
            for (int i = 0; i < values.length; i++) {
                values[i] = tensor.getFloat(i);
            }
            return values;
        }
    }

    private static double relativeError(float[] actual, float[] expected) {
        assertThat(actual).hasSameSizeAs(expected);
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < expected.length; i++) {
            difference += Math.pow((double) actual[i] - expected[i], 2);
            norm += Math.pow(expected[i], 2);
        }
        return Math.sqrt(difference / norm);
    }

    private String changed(String file, Consumer<Map<String, Tensor>> change) {
        Path to = directory.resolve("changed-" + file);
        try (Arena arena = Arena.ofShared()) {
            SafetensorsFile source = SafetensorsFile.open(FLUX.resolve(file), arena);
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            source.names().forEach(name -> tensors.put(name, source.tensor(name)));
            change.accept(tensors);
            SafetensorsWriter.write(to, tensors, Map.of());
        }
        return to.toString();
    }

    private String rows() {
        return changed(
                "dev-gradients.safetensors",
                tensors -> {
                    Tensor condition = tensors.get("condition");
                    tensors.keySet().removeIf(FluxCommandTest::isOfNoUse);
                    tensors.put("control", condition);
                });
    }

    private static boolean isOfNoUse(String name) {
        return !List.of("latents", "encoder_hidden_states", "pooled_projections", "img_ids", "txt_ids").contains(name);
    }

    private List<String> step(String adapter, String inputs) {
        List<String> arguments = new ArrayList<>(List.of("flux", "step", "--model", DEV));
        if (!adapter.isEmpty()) {
            arguments.addAll(List.of("--adapter", adapter));
        }
        arguments.addAll(List.of("--inputs", inputs, "--out", path("prediction.safetensors"), "--force"));
        return arguments;
    }

    private List<String> tune(String... more) {
        List<String> arguments = new ArrayList<>(List.of("tune", "--model", DEV));
        arguments.addAll(List.of(more));
        return arguments;
    }

    @ParameterizedTest
    @CsvSource({
        "'', dev-plain, prediction",
        "control.safetensors, dev-control, control_1.0",
        "control-bfl.safetensors=0.85, dev-control, control_0.85"
    })
    void aStepPredictsAsDiffusers(String adapter, String inputs, String expected) {
        String file = FLUX.resolve(inputs + ".safetensors").toString();
        String reference = adapter.isEmpty() ? "" : FLUX.resolve(adapter).toString();
        succeed(step(reference, file).toArray(String[]::new));
        assertThat(relativeError(floats(path("prediction.safetensors"), "prediction"), floats(file, expected)))
                .isLessThan(1e-4);
    }

    @Test
    void infoShowsTransformersAndAdapters() {
        succeed("info", DEV);
        assertThat(out).contains("Flux transformer").contains("inner_dim").contains("guidance_embeds");
        succeed("info", "--json", FLUX.resolve("control-bfl.safetensors").toString());
        assertThat(out)
                .contains("\"kind\":\"Flux Control LoRA\"")
                .contains("\"key style\":\"original Control LoRA\"")
                .contains("\"layers by rank\":{\"2\":1,\"3\":35}")
                .contains("\"x_embedder inputs\":32")
                .contains("\"norm layers\":12")
                .contains("\"double_blocks.*.img_attn.qkv\":2");
        succeed("info", FLUX.resolve("kohya.safetensors").toString());
        assertThat(out).contains("Flux LoRA").contains("kohya").contains("double_blocks_*_img_attn_qkv");
    }

    @Test
    void infoLooksIntoPipelinesAndAdapterDirectories() throws IOException {
        Path transformer = Files.createDirectories(directory.resolve("pipeline/transformer"));
        for (String file : List.of("config.json", "diffusion_pytorch_model.safetensors")) {
            Files.copy(FLUX.resolve("schnell").resolve(file), transformer.resolve(file));
        }
        succeed("info", path("pipeline"));
        assertThat(out).contains("Flux transformer");
        Path adapter = Files.createDirectories(directory.resolve("adapter"));
        Files.copy(Path.of(CONTROL), adapter.resolve("pytorch_lora_weights.safetensors"));
        succeed("info", adapter.toString());
        assertThat(out).contains("Flux Control LoRA");
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4", "fp4", "int8", "hqq"})
    void aQuantizedTransformerPredictsCloseToTheDenseOne(String method) {
        succeed("quantize", "--model", DEV, "--out", path("q"), "--method", method, "--json");
        assertThat(out).contains("\"layers\":50");
        assertThat(directory.resolve("q/diffusion_pytorch_model.safetensors")).exists();
        assertThat(directory.resolve("q/config.json")).content().contains("quantization_config");
        succeed("info", path("q"), "--json");
        assertThat(out).contains("\"kind\":\"Flux transformer\"").contains("\"model parameters\":131536");
        succeed(
                "flux",
                "step",
                "--model",
                path("q"),
                "--inputs",
                PLAIN_INPUTS,
                "--out",
                path("prediction.safetensors"));
        double error =
                relativeError(floats(path("prediction.safetensors"), "prediction"), floats(PLAIN_INPUTS, "prediction"));
        assertThat(error).isBetween(1e-4, method.equals("int8") ? 0.02 : 0.2);
    }

    @Test
    void quantizesTheTransformerOfAPipeline() throws IOException {
        Path inner = Files.createDirectories(directory.resolve("pipeline/transformer"));
        try (DirectoryStream<Path> files = Files.newDirectoryStream(Path.of(DEV))) {
            for (Path file : files) {
                Files.copy(file, inner.resolve(file.getFileName()));
            }
        }
        succeed("quantize", "--model", path("pipeline"), "--out", path("q"), "--method", "int8");
        succeed("flux", "step", "--model", path("q"), "--inputs", PLAIN_INPUTS, "--out", path("p.safetensors"));
        assertThat(relativeError(floats(path("p.safetensors"), "prediction"), floats(PLAIN_INPUTS, "prediction")))
                .isLessThan(0.02);
        succeed("dequantize", "--model", path("q"), "--out", path("d"));
    }

    @Test
    void refusesToReplaceATransformerOrItsPipeline() throws IOException {
        Path inner = Files.createDirectories(directory.resolve("pipeline/transformer"));
        try (DirectoryStream<Path> files = Files.newDirectoryStream(Path.of(DEV))) {
            for (Path file : files) {
                Files.copy(file, inner.resolve(file.getFileName()));
            }
        }
        for (String out : List.of(path("pipeline"), path("pipeline/transformer"))) {
            List<String> places = List.of("--model", path("pipeline"), "--out", out, "--force");
            refuse(2, joined("quantize", places, "--method", "int8"), "--out " + out, "place of its own");
            refuse(2, joined("dequantize", places), "--out " + out, "place of its own");
            refuse(2, joined("merge", places, "--adapter", CONTROL), "--out " + out, "place of its own");
        }
    }

    private static List<String> joined(String command, List<String> options, String... more) {
        List<String> all = new ArrayList<>(List.of(command));
        all.addAll(options);
        all.addAll(List.of(more));
        return all;
    }

    @Test
    void mergesIntoADenseTransformer() {
        succeed("merge", "--model", DEV, "--adapter", CONTROL + "=0.85", "--out", path("m"));
        assertThat(err).contains("50 layers changed");
        succeed("flux", "step", "--model", path("m"), "--inputs", WIDE_INPUTS, "--out", path("p.safetensors"));
        assertThat(relativeError(floats(path("p.safetensors"), "prediction"), floats(WIDE_INPUTS, "control_0.85")))
                .isLessThan(1e-4);
    }

    @Test
    void layersThatAMergeChangesBecomeDenseAndTheOthersStayQuantized() {
        succeed("quantize", "--model", DEV, "--out", path("q"), "--method", "nf4");
        String inputOnly =
                changed(
                        "control.safetensors",
                        tensors -> tensors.keySet().removeIf(name -> !name.startsWith("transformer.x_embedder.")));
        succeed("merge", "--model", path("q"), "--adapter", inputOnly, "--out", path("m"));
        assertThat(err).contains("1 layers changed").contains("49 quantized in all");
        assertThat(directory.resolve("m/config.json"))
                .content()
                .contains("\"in_channels\" : 32")
                .contains("\"llm_int8_skip_modules\" : [ \"x_embedder\" ]");
        succeed(
                "flux",
                "step",
                "--model",
                path("q"),
                "--adapter",
                inputOnly,
                "--inputs",
                WIDE_INPUTS,
                "--out",
                path("beside.safetensors"));
        succeed("flux", "step", "--model", path("m"), "--inputs", WIDE_INPUTS, "--out", path("merged.safetensors"));
        assertThat(
                        relativeError(
                                floats(path("merged.safetensors"), "prediction"),
                                floats(path("beside.safetensors"), "prediction")))
                .isLessThan(1e-5);
        succeed("merge", "--model", path("q"), "--adapter", CONTROL, "--out", path("dense"));
        assertThat(directory.resolve("dense/config.json")).content().doesNotContain("quantization_config");
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4", "int8"})
    void aDenseOutputLayerTakesItsNamesakesWithIt(String method) {
        succeed("quantize", "--model", DEV, "--out", path("q"), "--method", method);
        String outputOnly =
                changed(
                        "control.safetensors",
                        tensors -> tensors.keySet().removeIf(name -> !name.startsWith("transformer.proj_out.")));
        succeed("merge", "--model", path("q"), "--adapter", outputOnly, "--out", path("m"));
        assertThat(err).contains("3 quantized before and dense now").contains("2 layers are dense only because");
        assertThat(directory.resolve("m/config.json"))
                .content()
                .contains("single_transformer_blocks.0.proj_out", "single_transformer_blocks.1.proj_out");
        String beside = path("beside.safetensors");
        succeed(
                "flux",
                "step",
                "--model",
                path("q"),
                "--adapter",
                outputOnly,
                "--inputs",
                PLAIN_INPUTS,
                "--out",
                beside);
        succeed("flux", "step", "--model", path("m"), "--inputs", PLAIN_INPUTS, "--out", path("merged.safetensors"));
        assertThat(relativeError(floats(path("merged.safetensors"), "prediction"), floats(beside, "prediction")))
                .isLessThan(1e-5);
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4", "fp4", "int8", "hqq"})
    void aMergeIntoAQuantizedTransformerStaysQuantizedOnRequest(String method) {
        succeed("quantize", "--model", DEV, "--out", path("q"), "--method", method);
        succeed("merge", "--model", path("q"), "--adapter", CONTROL, "--out", path("dense"));
        succeed("merge", "--model", path("q"), "--adapter", CONTROL, "--out", path("again"), "--requantize", "--json");
        assertThat(err).contains("50 of them quantized again").contains("50 quantized in all");
        assertThat(out).contains("\"kept\":");
        succeed(
                "merge",
                "--model",
                path("q"),
                "--adapter",
                CONTROL,
                "--out",
                path("mixed"),
                "--requantize",
                "--dense-input");
        assertThat(err).contains("49 of them quantized again, 1 quantized before and dense now");
        assertThat(directory.resolve("mixed/config.json")).content().contains("x_embedder");
        float[] exact = prediction("dense");
        double again = relativeError(prediction("again"), exact);
        double mixed = relativeError(prediction("mixed"), exact);
        assertThat(again).isLessThan(method.equals("int8") ? 0.02 : 0.3);
        assertThat(mixed).isLessThan(method.equals("int8") ? 0.02 : 0.3);
        refuse(
                1,
                List.of("merge", "--model", DEV, "--adapter", CONTROL, "--out", path("x"), "--requantize"),
                "dense transformer",
                "without --requantize");
    }

    private float[] prediction(String model) {
        String file = path(model + ".prediction.safetensors");
        succeed("flux", "step", "--model", path(model), "--inputs", WIDE_INPUTS, "--out", file);
        return floats(file, "prediction");
    }

    @Test
    void tunesAControlLoraAndGoesOnAfterAnInterruption() throws IOException {
        String data = rows();
        List<String> options =
                List.of("--data", data, "--method", "lora", "--rank", "2", "--lr", "1e-2", "--batch-size", "2");
        List<String> whole = tune("--steps", "6", "--out", path("whole"), "--log", path("log.jsonl"), "--json");
        whole.addAll(options);
        succeed(whole.toArray(String[]::new));
        assertThat(out).contains("\"steps\":6").hasLineCount(1);
        assertThat(err).contains("memory ").contains("activations");
        assertThat(directory.resolve("log.jsonl")).content().hasLineCount(6).contains("\"loss\":");
        Path trained = directory.resolve("whole/pytorch_lora_weights.safetensors");
        assertThat(trained).exists();
        assertThat(directory.resolve("whole/report.html")).exists();
        assertThat(directory.resolve("whole/checkpoint.safetensors")).doesNotExist();

        // An interrupted run: its checkpoint stays where the adapter cannot be written.
        List<String> interrupted = tune("--steps", "6", "--checkpoint-every", "4", "--out", path("part"));
        interrupted.addAll(options);
        Files.createDirectories(directory.resolve("part/pytorch_lora_weights.safetensors/in the way"));
        interrupted.add("--force");
        assertThat(run(interrupted.toArray(String[]::new))).isEqualTo(1);
        Files.delete(directory.resolve("part/pytorch_lora_weights.safetensors/in the way"));
        Files.delete(directory.resolve("part/pytorch_lora_weights.safetensors"));
        interrupted.removeLast();
        interrupted.add("--resume");
        succeed(interrupted.toArray(String[]::new));
        assertThat(err).contains("resumed after step 4 of 6");
        assertThat(directory.resolve("part/pytorch_lora_weights.safetensors")).hasSameBinaryContentAs(trained);

        succeed("info", path("whole"));
        assertThat(out).contains("Flux Control LoRA").contains("x_embedder inputs      32");
        succeed(step(path("whole"), WIDE_INPUTS).toArray(String[]::new));
    }

    @Test
    void goesOnWithAControlLoraOfAnyStyle() {
        succeed(
                tune(
                                "--data",
                                rows(),
                                "--init-from",
                                FLUX.resolve("control-bfl.safetensors").toString(),
                                "--steps",
                                "1",
                                "--lr",
                                "0",
                                "--out",
                                path("on.safetensors"))
                        .toArray(String[]::new));
        succeed("info", path("on.safetensors"), "--json");
        assertThat(out).contains("\"norm layers\":12").contains("\"layers by rank\":{\"2\":1,\"3\":49}");
        succeed(step(path("on.safetensors"), WIDE_INPUTS).toArray(String[]::new));
        assertThat(
                        relativeError(
                                floats(path("prediction.safetensors"), "prediction"),
                                floats(WIDE_INPUTS, "control_1.0")))
                .isCloseTo(0, within(1e-4));
    }

    @Test
    void tunesOverAQuantizedTransformer() {
        succeed(
                tune(
                                "--data",
                                rows(),
                                "--method",
                                "lora",
                                "--rank",
                                "2",
                                "--steps",
                                "2",
                                "--quantize",
                                "nf4",
                                "--out",
                                path("a"))
                        .toArray(String[]::new));
        assertThat(err).contains("nf4");
    }

    @ParameterizedTest
    @CsvSource({
        "regular, dev-plain",
        "kohya, dev-plain",
        "comfy, dev-plain",
        "xlabs, dev-plain",
        "control-bfl, dev-control"
    })
    void adaptersOfAnyStyleBecomeThoseOfDiffusers(String adapter, String inputs) {
        String original = FLUX.resolve(adapter + ".safetensors").toString();
        String converted = path("converted.safetensors");
        String input = FLUX.resolve(inputs + ".safetensors").toString();
        succeed("convert", "--model", DEV, "--in", original, "--to", "diffusers", "--out", converted);
        succeed(step(original, input).toArray(String[]::new));
        float[] expected = floats(path("prediction.safetensors"), "prediction");
        succeed(step(converted, input).toArray(String[]::new));
        assertThat(relativeError(floats(path("prediction.safetensors"), "prediction"), expected))
                .isLessThanOrEqualTo(1e-6);
        List<String> again =
                List.of("convert", "--model", DEV, "--in", original, "--to", "kohya", "--out", path("a.safetensors"));
        refuse(2, again, "--to: adapters of a Flux transformer are written as diffusers", "kohya");
    }

    @Test
    void refusesAdaptersThatDoNotFit() {
        String narrow =
                changed(
                        "control.safetensors",
                        tensors ->
                                tensors.put(
                                        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
                                        Tensor.allocate(Arena.ofAuto(), DType.F32, 3, 48)));
        refuse(1, step(narrow, WIDE_INPUTS), "transformer_blocks.0.attn.to_q.lora_A", "expected 32", "found 48");
        String headless =
                changed(
                        "control-bfl.safetensors",
                        tensors -> tensors.keySet().removeIf(name -> name.startsWith("img_in.")));
        refuse(1, step(headless, WIDE_INPUTS), "img_in.lora_A.weight", "incomplete");
        String half = changed("control.safetensors", tensors -> tensors.remove("transformer.x_embedder.lora_B.weight"));
        refuse(1, step(half, WIDE_INPUTS), "x_embedder", "lora_B");
        refuse(2, step(CONTROL + "=NaN", WIDE_INPUTS), "NaN", "finite");
        refuse(1, step("", WIDE_INPUTS), "hidden_states", "32", "Control LoRA");
        refuse(1, step(path("nothing.safetensors"), WIDE_INPUTS), "nothing.safetensors");
    }

    @Test
    void refusesInputsOfTheWrongShape() {
        for (String ids : List.of("img_ids", "txt_ids")) {
            String wrong =
                    changed(
                            "dev-plain.safetensors",
                            tensors -> tensors.put(ids, Tensor.allocate(Arena.ofAuto(), DType.F32, 7, 2)));
            refuse(1, step("", wrong), ids, "expected the shape", "[7, 2]");
        }
    }

    @Test
    void refusesToWriteWhatIsNotFinite() {
        String result = path("overflow.safetensors");
        refuse(
                1,
                List.of(
                        "flux",
                        "step",
                        "--model",
                        DEV,
                        "--adapter",
                        CONTROL + "=1e38",
                        "--inputs",
                        WIDE_INPUTS,
                        "--out",
                        result),
                "prediction of sample 0",
                "finite",
                DEV);
        assertThat(Path.of(result)).doesNotExist();
    }

    @Test
    void saysWhatItLeavesOut() {
        String encoder =
                changed(
                        "kohya.safetensors",
                        tensors ->
                                tensors.put(
                                        "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
                                        Tensor.allocate(Arena.ofAuto(), DType.F32)));
        succeed(step(encoder, PLAIN_INPUTS).toArray(String[]::new));
        assertThat(err).contains("1 tensors are of other parts of a pipeline", "lora_te1_text_model");
    }

    @Test
    void commandsOfLanguageModelsSayWhatTheDirectoryIs() {
        refuse(
                1,
                List.of("generate", "--model", DEV, "--prompt", "a"),
                "FluxTransformer2DModel",
                "expected a language model",
                "flux step");
    }

    @Test
    void refusesDirectoriesThatAreNoTransformer() throws IOException {
        Path empty = Files.createDirectories(directory.resolve("empty"));
        String result = path("x.safetensors");
        refuse(
                1,
                List.of("flux", "step", "--model", empty.toString(), "--inputs", PLAIN_INPUTS, "--out", result),
                "empty",
                "config.json");
        Files.writeString(empty.resolve("config.json"), "{\"_class_name\": \"UNet2DConditionModel\"}");
        refuse(
                1,
                List.of("flux", "step", "--model", empty.toString(), "--inputs", PLAIN_INPUTS, "--out", result),
                "FluxTransformer2DModel",
                "UNet2DConditionModel");
    }

    @Test
    void refusesTuningThatCannotWork() {
        String data = rows();
        refuse(2, tune("--data", data, "--method", "dora", "--out", path("a")), "--method", "lora", "dora");
        refuse(2, tune("--data", data, "--method", "lora", "--max-length", "9", "--out", path("a")), "--max-length");
        refuse(2, tune("--data", data, "--method", "lora", "--targets", "q_proj", "--out", path("a")), "q_proj");
        refuse(2, tune("--data", data, "--method", "lora", "--guidance", "NaN", "--out", path("a")), "--guidance");
        refuse(1, tune("--data", PLAIN_INPUTS, "--method", "lora", "--out", path("a")), "latents");
        String schnell = FLUX.resolve("schnell").toString();
        refuse(
                2,
                List.of(
                        "tune",
                        "--model",
                        schnell,
                        "--data",
                        data,
                        "--method",
                        "lora",
                        "--guidance",
                        "3",
                        "--out",
                        path("a")),
                "--guidance",
                "no guidance embedding");
        String uncontrolled =
                changed("dev-gradients.safetensors", tensors -> tensors.keySet().removeIf(FluxCommandTest::isOfNoUse));
        refuse(
                1,
                tune("--data", uncontrolled, "--init-from", CONTROL, "--out", path("a")),
                "x_embedder.lora_A",
                "control latents");
    }
}
