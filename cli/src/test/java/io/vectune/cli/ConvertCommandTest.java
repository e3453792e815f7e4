package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterKind;
import io.vectune.adapters.AdapterKinds;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.models.load.ModelLoader;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import picocli.CommandLine;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// Every kind through `vectune convert`: as a plain LoRA, exactly or with the error that is printed, and in the other
/// file formats.
class ConvertCommandTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData", "../test-data"));
    private static final Path MODEL = TEST_DATA.resolve("tiny-llama");
    private static final Pattern ERROR = Pattern.compile("(\\S+) +rank (\\d+), relative error (\\d\\.\\d+)");

    private static final List<String> EXACT =
            List.of(
                    "lora",
                    "pissa",
                    "olora",
                    "delora",
                    "hra",
                    "antipasto",
                    "miss",
                    "vera",
                    "adalora",
                    "gralora",
                    "loha");

    @TempDir private Path directory;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final List<LayerSite> sites = ModelLoader.load(MODEL, arena).decoder().sites();
    private String out = "";
    private String err = "";

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private int convert(Path in, Path to, String format, String... more) {
        List<String> withModel = new ArrayList<>(List.of("--model", MODEL.toString()));
        withModel.addAll(List.of(more));
        return rename(in, to, format, withModel.toArray(String[]::new));
    }

    /// Without a model, unless `more` names one.
    private int rename(Path in, Path to, String format, String... more) {
        List<String> arguments = new ArrayList<>(List.of("convert"));
        arguments.addAll(List.of("--in", in.toString(), "--out", to.toString(), "--to", format));
        arguments.addAll(List.of(more));
        StringWriter outText = new StringWriter();
        StringWriter errText = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(outText));
        line.setErr(new PrintWriter(errText));
        int code = line.execute(arguments.toArray(String[]::new));
        out = outText.toString();
        err = errText.toString();
        return code;
    }

    private static Map<String, Object> options(String kind) {
        return switch (kind) {
            case "ia3" -> Map.of("feedforward_modules", List.of("down_proj"));
            case "road" -> Map.of("group_size", 8);
            case "oft" -> Map.of("oft_block_size", 8);
            case "adalora" -> Map.of("init_r", 4, "total_step", 10);
            case "antipasto" -> Map.of("r", 8);
            case "delora" -> Map.of("r", 4, "delora_lambda", 1);
            case "loha" -> Map.of("r", 2);
            default -> Map.of("r", 4);
        };
    }

    private AdapterSet trained(String kind, Map<String, ?> options) {
        Map<String, Object> fields = new LinkedHashMap<>(options);
        if (!List.of("ln_tuning", "trainable_tokens").contains(kind)) {
            fields.putIfAbsent("target_modules", List.of("q_proj", "down_proj"));
        }
        AdapterSet set = AdapterSet.create(AdapterConfig.of(kind, fields), sites, new Initialization(compute, 3));
        SplittableRandom random = new SplittableRandom(4);
        for (AdapterSet.Entry entry : set.parameters()) {
            Matrix values = entry.parameter().values();
            for (int row = 0; entry.parameter().trainable() && row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    values.set(row, column, values.get(row, column) + 0.1f * (float) random.nextGaussian());
                }
            }
        }
        set.refresh(compute);
        return set;
    }

    private Path written(String kind, Map<String, ?> options) {
        Path path = directory.resolve(kind);
        try (AdapterSet set = trained(kind, options)) {
            AdapterFiles.write(set, path, AdapterFiles.Format.PEFT, false);
        }
        return path;
    }

    private double[] change(AdapterSet set, LayerSite site) {
        Adapter adapter = Objects.requireNonNull(set.adapter(site.name()));
        Matrix merged = Matrix.allocate(arena, adapter.outFeatures(), adapter.inFeatures());
        adapter.merge(compute, site.weight(), merged);
        float[] values = merged.toArray();
        float[] base = new float[values.length];
        site.weight().decode(0, merged.rows(), 0, merged.columns(), base, 0, merged.columns());
        double[] change = new double[values.length];
        for (int i = 0; i < change.length; i++) {
            change[i] = (double) values[i] - base[i];
        }
        return change;
    }

    private static double distance(double[] found, double[] expected) {
        double error = 0;
        double size = 0;
        for (int i = 0; i < expected.length; i++) {
            error += (found[i] - expected[i]) * (found[i] - expected[i]);
            size += expected[i] * expected[i];
        }
        return Math.sqrt(error / size);
    }

    static Stream<String> linearKinds() {
        return AdapterKinds.ALL.stream()
                .map(AdapterKind::name)
                .filter(kind -> !List.of("eva", "loftq", "ln_tuning", "trainable_tokens").contains(kind));
    }

    @ParameterizedTest
    @MethodSource("linearKinds")
    void everyKindBecomesALora(String kind) {
        Path in = written(kind, options(kind));
        Path to = directory.resolve("lora-of-it");
        assertThat(convert(in, to, "lora", "--rank", "8")).as(err).isZero();
        Map<String, Double> reported = new LinkedHashMap<>();
        Matcher matcher = ERROR.matcher(out);
        while (matcher.find()) {
            assertThat(matcher.group(2)).isEqualTo("8");
            reported.put(matcher.group(1), Double.parseDouble(matcher.group(3)));
        }
        try (AdapterSet before = AdapterFiles.read(in, sites, compute);
                AdapterSet after = AdapterFiles.read(to, sites, compute)) {
            assertThat(after.config().recipe().kind()).isEqualTo("lora");
            assertThat(after.adapters().keySet()).isEqualTo(before.adapters().keySet());
            for (String module : before.adapters().keySet()) {
                double error = distance(change(after, before.site(module)), change(before, before.site(module)));
                if (EXACT.contains(kind)) {
                    // dW is the difference of two f32 weights of some ten times its size.
                    assertThat(error).isLessThanOrEqualTo(1e-5);
                    assertThat(reported).isEmpty();
                } else {
                    assertThat(reported).containsKey(module);
                    assertThat(error).isCloseTo(Objects.requireNonNull(reported.get(module)), within(2e-5));
                }
            }
            int layers = before.adapters().size();
            String counts = EXACT.contains(kind) ? "%d layers exactly, 0 app" : "0 layers exactly, %d app";
            assertThat(err).contains(String.format(Locale.ROOT, counts, layers));
        }
    }

    @Test
    void whatNoLoraExpressesIsRefused() {
        Map<String, Map<String, Object>> cases = new LinkedHashMap<>();
        cases.put("ln_tuning", Map.of());
        cases.put("trainable_tokens", Map.of("token_indices", List.of(3)));
        for (Map.Entry<String, Map<String, Object>> each : cases.entrySet()) {
            Path in = written(each.getKey(), each.getValue());
            for (String format : List.of("lora", "lora-lite", "diffusers", "kohya")) {
                Path to = directory.resolve(format.equals("lora") ? "refused" : "refused.safetensors");
                assertThat(convert(in, to, format)).isEqualTo(1);
                assertThat(err).as(format).containsAnyOf("model.", "lora-lite").contains(each.getKey());
                assertThat(to).doesNotExist();
            }
        }
        Path whole = written("lora", Map.of("r", 2, "modules_to_save", List.of("norm")));
        for (String format : List.of("lora", "lora-lite", "diffusers", "kohya")) {
            Path to = directory.resolve(format.equals("lora") ? "refused" : "refused.safetensors");
            assertThat(convert(whole, to, format)).isEqualTo(1);
            assertThat(err).as(format).contains("layernorm");
            assertThat(to).doesNotExist();
        }
    }

    @ParameterizedTest
    @CsvSource({
        "lora, lora-lite",
        "dora, lora-lite",
        "pissa, lora-lite",
        "delora, lora-lite",
        "hra, lora-lite",
        "road, lora-lite",
        "antipasto, lora-lite",
        "lora, diffusers",
        "dora, diffusers",
        "lora, kohya",
        "dora, kohya"
    })
    void formatsGoBothWays(String kind, String format) {
        Path in = written(kind, options(kind));
        Path there = directory.resolve("there.safetensors");
        Path back = directory.resolve("back");
        assertThat(convert(in, there, format)).as(err).isZero();
        assertThat(convert(there, back, "peft")).as(err).isZero();
        try (AdapterSet before = AdapterFiles.read(in, sites, compute);
                AdapterSet after = AdapterFiles.read(back, sites, compute)) {
            assertThat(after.adapters().keySet()).isEqualTo(before.adapters().keySet());
            List<AdapterSet.Entry> expected = before.parameters();
            List<AdapterSet.Entry> found = after.parameters();
            assertThat(found).hasSameSizeAs(expected);
            for (int index = 0; index < expected.size(); index++) {
                assertThat(found.get(index).name()).isEqualTo(expected.get(index).name());
                assertThat(found.get(index).parameter().values().toArray())
                        .containsExactly(expected.get(index).parameter().values().toArray());
            }
            for (String module : before.adapters().keySet()) {
                LayerSite site = before.site(module);
                assertThat(change(after, site)).containsExactly(change(before, site));
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"vera, lora-lite", "loha, lora-lite", "vera, kohya", "delora, diffusers", "oft, diffusers"})
    void formatsThatLackAKindSaySo(String kind, String format) {
        Path to = directory.resolve("there.safetensors");
        assertThat(convert(written(kind, options(kind)), to, format)).isEqualTo(1);
        assertThat(err).contains(kind).containsAnyOf("write a PEFT directory instead", "export it as a LoRA first");
        assertThat(to).doesNotExist();
    }

    @ParameterizedTest
    @CsvSource({
        "lora, lora-lite",
        "dora, lora-lite",
        "pissa, lora-lite",
        "delora, lora-lite",
        "hra, lora-lite",
        "ia3, lora-lite",
        "road, lora-lite",
        "antipasto, lora-lite",
        "lora, diffusers",
        "dora, diffusers",
        "lora, kohya",
        "dora, kohya"
    })
    void keysAreRenamedWithoutTheModelAsWithIt(String kind, String format) {
        Map<String, Object> options = new LinkedHashMap<>(options(kind));
        if (kind.equals("ia3")) {
            options.put("feedforward_modules", List.of());
        } else if (kind.equals("lora") && !format.equals("lora-lite")) {
            options.putAll(Map.of("rank_pattern", Map.of("down_proj", 2), "use_rslora", true, "lora_alpha", 6));
        }
        Path in = written(kind, options);
        Path expected = directory.resolve("expected.safetensors");
        Path found = directory.resolve("found.safetensors");
        assertThat(convert(in, expected, format)).as(err).isZero();
        assertThat(rename(in, found, format)).as(err).isZero();
        assertSameTensors(found, expected);
        assertThat(cfg(found)).isEqualTo(cfg(expected));

        Path expectedBack = directory.resolve("expected-back");
        Path foundBack = directory.resolve("found-back");
        assertThat(convert(expected, expectedBack, "peft")).as(err).isZero();
        assertThat(rename(found, foundBack, "peft")).as(err).isZero();
        Path weights = Path.of("adapter_model.safetensors");
        assertSameTensors(foundBack.resolve(weights), expectedBack.resolve(weights));
        assertThat(sorted(StrictJson.readObject(foundBack.resolve("adapter_config.json"))))
                .isEqualTo(sorted(StrictJson.readObject(expectedBack.resolve("adapter_config.json"))));
    }

    private void assertSameTensors(Path found, Path expected) {
        SafetensorsFile foundFile = SafetensorsFile.open(found, arena);
        SafetensorsFile expectedFile = SafetensorsFile.open(expected, arena);
        assertThat(foundFile.names()).isEqualTo(expectedFile.names());
        for (String name : expectedFile.names()) {
            assertThat(foundFile.tensor(name).shape()).as(name).isEqualTo(expectedFile.tensor(name).shape());
            assertThat(foundFile.tensor(name).segment().mismatch(expectedFile.tensor(name).segment()))
                    .as(name)
                    .isEqualTo(-1);
        }
    }

    /// The configuration of a lora-lite file; empty for others.
    private String cfg(Path file) {
        String cfg = SafetensorsFile.open(file, arena).metadata().getOrDefault("cfg", "{}");
        return sorted(StrictJson.parseObject(cfg, "cfg"));
    }

    /// Layers come in the order of the file or of the model: a list of names has none.
    private static String sorted(ObjectNode config) {
        for (String field : List.of("target_modules", "target_names", "feedforward_modules")) {
            if (config.get(field) instanceof ArrayNode names) {
                List<String> texts = new ArrayList<>();
                names.forEach(name -> texts.add(name.asString()));
                ArrayNode ordered = config.putArray(field);
                texts.stream().sorted().forEach(ordered::add);
            }
        }
        return config.toString();
    }

    @Test
    void whatOnlyTheModelTellsAsksForIt() {
        Path lora = written("lora", Map.of("r", 2));
        assertThat(rename(lora, directory.resolve("to"), "lora")).isEqualTo(2);
        assertThat(err).contains("--model: expected the model of the adapter, as --to lora computes from its weights");
        Path kohya = directory.resolve("kohya.safetensors");
        rewrite(lora, "base_model.model.model.layers.0.self_attn.q_proj.", "lora_unet_double_blocks_0_img_q.", kohya);
        assertThat(rename(kohya, directory.resolve("to"), "peft")).isEqualTo(1);
        assertThat(err)
                .contains("lora_unet_double_blocks_0_img_q has _ for ., and only its model can tell which")
                .contains("convert it with the model (--model)");
        Path text = directory.resolve("text.safetensors");
        rewrite(lora, "base_model.model.model.layers.0.self_attn.q_proj.", "text_encoder.layers.0.q_proj.", text);
        assertThat(rename(text, directory.resolve("to"), "peft")).isEqualTo(1);
        assertThat(err).contains("text_encoder.layers.0.q_proj is of another part of a pipeline", "(--model)");
        Path delora = written("delora", options("delora"));
        Path weights = delora.resolve("adapter_model.safetensors");
        edit(weights, tensors -> tensors.keySet().removeIf(name -> name.endsWith("delora_w_norm")));
        assertThat(rename(delora, directory.resolve("to.safetensors"), "lora-lite")).isEqualTo(1);
        assertThat(err).contains("has no delora_w_norm, which follows from the weights of its model", "(--model)");
        assertThat(directory.resolve("to.safetensors")).doesNotExist();
        assertThat(directory.resolve("to")).doesNotExist();
    }

    @Test
    void brokenAdaptersAreRefusedWithoutTheModelToo() {
        Path to = directory.resolve("to.safetensors");
        String module = "base_model.model.model.layers.0.self_attn.q_proj.";
        Map<String, Consumer<Map<String, Tensor>>> cases = new LinkedHashMap<>();
        cases.put("expected the tensor lora_B.weight, found none", all -> all.remove(module + "lora_B.weight"));
        cases.put(
                "expected lora_A (rank, inFeatures) and lora_B (outFeatures, rank)",
                all -> all.put(module + "lora_B.weight", Tensor.allocate(arena, DType.F32, 64, 3)));
        cases.put(
                "lora_A has rank 3, expected 4",
                all -> {
                    all.put(module + "lora_A.weight", Tensor.allocate(arena, DType.F32, 3, 64));
                    all.put(module + "lora_B.weight", Tensor.allocate(arena, DType.F32, 64, 3));
                });
        cases.put(
                "expected a magnitude of ",
                all -> all.put(module + "lora_magnitude_vector", Tensor.allocate(arena, DType.F32, 3)));
        cases.put(
                "expected finite values, found NaN",
                all -> {
                    Tensor broken = Tensor.allocate(arena, DType.F32, 4, 64);
                    broken.setFloat(9, Float.NaN);
                    all.put(module + "lora_A.weight", broken);
                });
        cases.put(
                "expected a float type, found I32",
                all -> all.put(module + "lora_A.weight", Tensor.allocate(arena, DType.I32, 4, 64)));
        cases.put(
                "this format cannot hold weight",
                all -> all.put("base_model.model.model.norm.weight", Tensor.allocate(arena, DType.F32, 64)));
        cases.put(
                "expected a key base_model.model.<module>.<parameter>",
                all -> all.put("model.norm.weight", Tensor.allocate(arena, DType.F32, 64)));
        Path in = written("dora", Map.of("r", 4));
        Path weights = in.resolve("adapter_model.safetensors");
        Map<String, Tensor> whole = read(weights);
        cases.forEach((message, change) -> {
            Map<String, Tensor> tensors = new LinkedHashMap<>(whole);
            change.accept(tensors);
            SafetensorsWriter.write(weights, tensors, Map.of("format", "pt"));
            assertThat(rename(in, to, "kohya")).isEqualTo(1);
            assertThat(err).contains("vectune: ", message).doesNotContain("\tat ");
            assertThat(to).doesNotExist();
        });
        SafetensorsWriter.write(weights, whole, Map.of("format", "pt"));
        assertThat(rename(in, directory.resolve("again"), "peft")).isEqualTo(1);
        assertThat(err).contains("expected another format to convert from, found a PEFT directory");
        assertThat(rename(directory.resolve("nothing"), to, "kohya")).isEqualTo(1);
        assertThat(err).contains("there is nothing");
        assertThat(rename(in, to, "kohya")).as(err).isZero();
        assertThat(rename(in, to, "kohya")).isEqualTo(2);
        assertThat(rename(in, to, "kohya", "--force")).as(err).isZero();
    }

    private Map<String, Tensor> read(Path file) {
        // In memory of its own: the file is written anew.
        SafetensorsFile source = SafetensorsFile.open(file, arena);
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        for (String name : source.names()) {
            Tensor copy = Tensor.allocate(arena, source.tensor(name).dtype(), source.tensor(name).shape());
            copy.segment().copyFrom(source.tensor(name).segment());
            tensors.put(name, copy);
        }
        return tensors;
    }

    private void edit(Path file, Consumer<Map<String, Tensor>> change) {
        Map<String, Tensor> tensors = read(file);
        change.accept(tensors);
        SafetensorsWriter.write(file, tensors, Map.of("format", "pt"));
    }

    /// A file of the tensors of one layer under another name.
    private void rewrite(Path adapter, String module, String other, Path file) {
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        read(adapter.resolve("adapter_model.safetensors"))
                .forEach((name, tensor) -> {
                    if (name.startsWith(module)) {
                        tensors.put(other + name.substring(module.length()), tensor);
                    }
                });
        SafetensorsWriter.write(file, tensors, Map.of("format", "pt"));
    }
}
