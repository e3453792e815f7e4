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
import io.vectune.adapters.random.SplitMix;
import io.vectune.models.load.ModelLoader;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
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
        List<String> arguments = new ArrayList<>(List.of("convert", "--model", MODEL.toString()));
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
        SplitMix random = new SplitMix(4);
        for (AdapterSet.Entry entry : set.parameters()) {
            Matrix values = entry.parameter().values();
            for (int row = 0; entry.parameter().trainable() && row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    values.set(row, column, values.get(row, column) + 0.1f * (float) random.nextNormal());
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
}
