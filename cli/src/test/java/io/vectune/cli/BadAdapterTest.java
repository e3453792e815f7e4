package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.models.load.ModelLoader;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import picocli.CommandLine;

/// Adapters that cannot be made, and files that are no adapters of the model: one line with the name and the remedy,
/// nothing written.
class BadAdapterTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final Path MODEL = TEST_DATA.resolve("tiny-llama");
    private static final String ROWS = MODEL.resolve("task/train.jsonl").toString();
    private static final String FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

    @TempDir private Path directory;

    private String err = "";

    private int run(List<String> arguments) {
        StringWriter errText = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(new StringWriter()));
        line.setErr(new PrintWriter(errText));
        int code = line.execute(arguments.toArray(String[]::new));
        err = errText.toString();
        return code;
    }

    /// Options of `tune` that make no adapter.
    record Options(List<String> options, List<String> parts) {
        static Options of(String options, String... parts) {
            return new Options(List.of(options.split(" ")), List.of(parts));
        }

        @Override
        public String toString() {
            return String.join(" ", options);
        }
    }

    static Stream<Options> unmakeable() {
        return Stream.of(
                Options.of("--method hra --rank 7", "HRA needs an even rank", "r=7, use 6 or 8"),
                Options.of("--method hra --rank 1000", "q_proj: r: expected at most inFeatures=128", "found 1000"),
                Options.of("--method lora --rank 1000", "q_proj: rank: expected at most 128", "lower it"),
                Options.of("--method dora --rank 65", "v_proj: rank: expected at most 64", "(64, 128)", "lower it"),
                Options.of("--method pissa --rank 1000", "q_proj: r: expected at most 128", "found 1000"),
                Options.of("--method miss --rank 1000", "q_proj: r: expected at most inFeatures=128", "found 1000"),
                Options.of("--method miss --rank 5 --set init_weights=bat", "bat needs a divisor of", "found 5"),
                Options.of("--method oft --set oft_block_size=7", "oft_block_size: expected a divisor of", "found 7"),
                Options.of("--method road --set group_size=9", "group_size: expected an even number", "found 9"),
                Options.of("--method gralora --rank 5 --set gralora_k=3", "gralora_k: expected a divisor of r=5"),
                Options.of("--method antipasto --rank 10", "block_size: expected", "a divisor of r=10", "found 4"),
                Options.of("--method eva --rank 16 --calibration SHORT", "q_proj: EVA needs at least 32", "lower r"),
                Options.of("--method antipasto --rank 16 --calibration SHORT", "needs at least 16", "lower r"),
                Options.of("--method eva", "expected calibration data", "name a data file"),
                Options.of("--method loftq", "LoftQ needs the weight before quantization"),
                Options.of("--method lora --set use_dora=true --set lora_bias=true", "lora_bias: expected false"),
                Options.of("--method lora --set rnk=3", "rnk = 3 is not supported"),
                Options.of("--method lora --set lora_dropout=2", "lora_dropout: expected a number from 0", "2.0"),
                Options.of("--method lora --set rank_pattern={\"q_prj\":2}", "rank_pattern: q_prj: expected a target"),
                Options.of("--method lora --targets q_prj", "target_modules: q_prj", "near matches: q_proj"),
                Options.of(
                        "--method lora --lr-ratio 0", "--lr-ratio: expected a positive finite number", "1 is the same"),
                Options.of("--method ln_tuning --targets q_proj", "q_proj: expected layers of the model (input_layer"),
                Options.of("--method delora --set delora_lambda=nan", "delora_lambda: expected a finite number"));
    }

    @ParameterizedTest
    @MethodSource("unmakeable")
    void optionsThatMakeNoAdapterAreRefused(Options each) throws IOException {
        Path few = Files.writeString(directory.resolve("short.txt"), "Hi.\n");
        Path out = directory.resolve("out");
        List<String> arguments = new ArrayList<>(List.of("tune", "--model", MODEL.toString(), "--data", ROWS));
        arguments.addAll(List.of("--steps", "1", "--batch-size", "2", "--out", out.toString()));
        each.options.forEach(option -> arguments.add(option.equals("SHORT") ? few.toString() : option));
        assertThat(run(arguments)).as(err).isIn(1, 2);
        String last = err.lines().filter(line -> line.startsWith("vectune: ")).reduce("", (a, b) -> b);
        assertThat(last).contains(each.parts);
        assertThat(err).doesNotContain("unexpected ", "\tat ");
        assertThat(out).doesNotExist();
    }

    private Path adapter(String kind) {
        Path path = directory.resolve("good");
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            List<LayerSite> sites = ModelLoader.load(MODEL, arena).decoder().sites();
            AdapterConfig config = AdapterConfig.of(kind, Map.of("r", 4));
            try (AdapterSet set = AdapterSet.create(config, sites, new Initialization(compute, 3))) {
                AdapterFiles.write(set, path, AdapterFiles.Format.PEFT, false);
            }
        }
        return path;
    }

    private void config(Path adapter, String before, String after) throws IOException {
        Path file = adapter.resolve("adapter_config.json");
        String text = Files.readString(file);
        assertThat(text).contains(before);
        Files.writeString(file, text.replace(before, after));
    }

    private void tensors(Path adapter, Consumer<Map<String, Tensor>> change) throws IOException {
        Path file = adapter.resolve("adapter_model.safetensors");
        Path changed = directory.resolve("changed.safetensors");
        try (Arena arena = Arena.ofShared()) {
            SafetensorsFile source = SafetensorsFile.open(file, arena);
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            for (String name : source.names()) {
                Tensor copy = Tensor.allocate(arena, source.tensor(name).dtype(), source.tensor(name).shape());
                copy.segment().copyFrom(source.tensor(name).segment());
                tensors.put(name, copy);
            }
            change.accept(tensors);
            SafetensorsWriter.write(changed, tensors, Map.of("format", "pt"));
        }
        Files.move(changed, file, StandardCopyOption.REPLACE_EXISTING);
    }

    private void refuses(Path model, Path adapter, String... parts) {
        Path out = directory.resolve("logits.safetensors");
        List<String> arguments = new ArrayList<>(List.of("logits", "--model", model.toString(), "--tokens", "1,2"));
        arguments.addAll(List.of("--adapter", adapter.toString(), "--out", out.toString()));
        assertThat(run(arguments)).as(err).isEqualTo(1);
        assertThat(err).startsWith("vectune: ").contains(parts).hasLineCount(1);
        assertThat(out).doesNotExist();
    }

    @Test
    void anAdapterOfAnotherBaseIsRefused() {
        Path adapter = adapter("lora");
        refuses(
                TEST_DATA.resolve("models/llama"),
                adapter,
                "lora_A.weight of model.layers.0.self_attn.q_proj: expected the shape [4, 64] for this model",
                "made for another base or configuration");
    }

    @Test
    void valuesThatAreNotFiniteAreRefused() throws IOException {
        Path adapter = adapter("lora");
        tensors(adapter, tensors -> Objects.requireNonNull(tensors.get(FIRST)).setFloat(5, Float.NaN));
        refuses(MODEL, adapter, "q_proj: loraA: expected finite values, found NaN at [0, 5]", "make or fetch it again");
    }

    @Test
    void tensorsThatDoNotFitAreRefused() throws IOException {
        Path adapter = adapter("lora");
        tensors(adapter, tensors -> tensors.remove(FIRST));
        refuses(MODEL, adapter, "1 missing (" + FIRST + ")", "belongs to another model or is incomplete");
        tensors(adapter, tensors -> tensors.put(FIRST, Tensor.allocate(Arena.ofAuto(), DType.I32, 4, 128)));
        refuses(MODEL, adapter, "q_proj: expected a float type, found I32");
        tensors(
                adapter,
                tensors -> {
                    tensors.put(FIRST, Tensor.allocate(Arena.ofAuto(), DType.F32, 4, 128));
                    tensors.put(FIRST.replace("q_proj", "q_prj"), Tensor.allocate(Arena.ofAuto(), DType.F32, 4, 128));
                });
        refuses(MODEL, adapter, "1 unexpected (" + FIRST.replace("q_proj", "q_prj") + ")");
    }

    @Test
    void contradictoryConfigurationsAreRefused() throws IOException {
        Path adapter = adapter("lora");
        config(adapter, "\"r\" : 4", "\"r\" : 9");
        refuses(MODEL, adapter, "q_proj: lora_A has rank 4, expected 9", "not of one adapter");
        config(adapter, "\"r\" : 9", "\"r\" : 0");
        refuses(MODEL, adapter, "adapter_config.json: r: expected a rank of at least 1, found 0");
        config(adapter, "\"r\" : 0", "\"r\" : 4");
        config(adapter, "\"use_dora\" : false", "\"use_dora\" : true");
        refuses(MODEL, adapter, "8 missing (", "q_proj.lora_magnitude_vector");
        config(adapter, "\"lora_bias\" : false", "\"lora_bias\" : true");
        refuses(MODEL, adapter, "lora_bias: expected false with use_dora, found true");
        config(adapter, "\"lora_bias\" : true", "\"lora_bias\" : false");
        Files.delete(adapter.resolve("adapter_model.safetensors"));
        refuses(MODEL, adapter, "expected adapter_model.safetensors");
        Files.writeString(adapter.resolve("adapter_config.json"), "{\"peft_type\" : \"LORAX\"}");
        refuses(MODEL, adapter, "peft_type: expected one of ADALORA", "found LORAX");
        Files.delete(adapter.resolve("adapter_config.json"));
        refuses(MODEL, adapter, "expected a PEFT adapter with adapter_config.json, found none");
        refuses(MODEL, directory.resolve("nothing"), "nothing: expected an adapter");
    }
}
