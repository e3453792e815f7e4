package io.vectune.adapters.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Every variant of the real lora-lite, from its file.
class LoraLiteGoldenTest {
    private static final Path DATA = Path.of(System.getProperty("vectune.testData"), "adapters", "lora-lite");

    private static final Map<String, String> KEYS =
            Map.of(
                    "loraA", "lora_A",
                    "loraB", "lora_B",
                    "magnitude", "lora_m",
                    "lambda", "lora_lambda",
                    "u", "lora_U",
                    "gate", "lora_g",
                    "theta", "lora_road_theta",
                    "alpha", "lora_road_alpha",
                    "delta", "lora_delta_s",
                    "rotation", "lora_rot_T");

    @ParameterizedTest
    @ValueSource(
            strings = {
                "lora",
                "dora",
                "pissa",
                "delora",
                "hra",
                "ia3",
                "ia3-ff",
                "road",
                "antipasto-v",
                "antipasto-u",
                "antipasto-none"
            })
    void equalsLoraLite(String name, @TempDir Path directory) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            SafetensorsFile golden = SafetensorsFile.open(DATA.resolve(name + ".golden.safetensors"), arena);
            LayerSite site =
                    new LayerSite(
                            GoldenRun.MODULE,
                            new DenseWeight(golden.tensor("weight")),
                            GoldenRun.row(golden.tensor("bias")));
            Path file = DATA.resolve(name + ".safetensors");
            try (AdapterSet set = AdapterFiles.read(file, List.of(site), compute)) {
                GoldenRun run =
                        new GoldenRun(
                                golden,
                                site,
                                set,
                                compute,
                                arena,
                                parameter -> Objects.requireNonNull(KEYS.get(parameter.name())));
                run.checkForwardAndBackward();
                Path copy = directory.resolve("copy.safetensors");
                AdapterFiles.write(set, copy, AdapterFiles.Format.LORA_LITE, false);
                checkSameTensors(SafetensorsFile.open(file, arena), SafetensorsFile.open(copy, arena));
                run.checkAdamW();
            }
        }
    }

    private static void checkSameTensors(SafetensorsFile expected, SafetensorsFile found) {
        assertThat(found.names()).containsExactlyInAnyOrderElementsOf(expected.names());
        for (String name : expected.names()) {
            Tensor left = expected.tensor(name);
            Tensor right = found.tensor(name);
            assertThat(right.shape()).as(name).containsExactly(left.shape());
            assertThat(GoldenRun.row(right).toArray()).containsExactly(GoldenRun.row(left).toArray());
        }
    }

    @Test
    void refusesForeignFilesByName(@TempDir Path directory) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            LayerSite site = new LayerSite("layer", new DenseWeight(Tensor.allocate(arena, DType.F32, 4, 4)), null);
            Path file = directory.resolve("odd.safetensors");
            SafetensorsWriter.write(
                    file,
                    Map.of("layer.lora_A", Tensor.allocate(arena, DType.F32, 2, 4)),
                    Map.of("cfg", "{\"variant\": \"loreft\"}"));
            assertThatThrownBy(() -> AdapterFiles.read(file, List.of(site), compute))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("variant: expected lora, eva")
                    .hasMessageContaining("found loreft");
            Path incomplete = directory.resolve("incomplete.safetensors");
            SafetensorsWriter.write(
                    incomplete,
                    Map.of("layer.lora_A", Tensor.allocate(arena, DType.F32, 2, 4)),
                    Map.of("cfg", "{\"variant\": \"lora\", \"r\": 2}"));
            assertThatThrownBy(() -> AdapterFiles.read(incomplete, List.of(site), compute))
                    .hasMessageContaining("1 missing (base_model.model.layer.lora_B.weight)");
        }
    }

    @Test
    void diffusersAndKohyaFilesComeBackAsTheyWere(@TempDir Path directory) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            SafetensorsFile golden = SafetensorsFile.open(DATA.resolve("dora.golden.safetensors"), arena);
            LayerSite site = new LayerSite(GoldenRun.MODULE, new DenseWeight(golden.tensor("weight")), null);
            for (String kind : List.of("lora", "dora")) {
                Path file = DATA.resolve(kind + ".safetensors");
                for (AdapterFiles.Format format :
                        List.of(AdapterFiles.Format.DIFFUSERS, AdapterFiles.Format.KOHYA, AdapterFiles.Format.PEFT)) {
                    Path copy =
                            directory.resolve(
                                    kind + format + (format == AdapterFiles.Format.PEFT ? "" : ".safetensors"));
                    try (AdapterSet set = AdapterFiles.read(file, List.of(site), compute)) {
                        AdapterFiles.write(set, copy, format, false);
                        try (AdapterSet back = AdapterFiles.read(copy, List.of(site), compute)) {
                            checkSame(set, back, compute, site);
                        }
                    }
                }
            }
        }
    }

    private static void checkSame(AdapterSet set, AdapterSet back, Compute compute, LayerSite site) {
        List<AdapterSet.Entry> before = set.parameters();
        List<AdapterSet.Entry> after = back.parameters();
        assertThat(after).hasSameSizeAs(before);
        for (int index = 0; index < before.size(); index++) {
            AdapterParameter parameter = after.get(index).parameter();
            assertThat(parameter.values().toArray()).containsExactly(before.get(index).parameter().values().toArray());
        }
        float[][] merged = new float[2][];
        for (int side = 0; side < 2; side++) {
            try (Arena arena = Arena.ofShared()) {
                Matrix matrix = Matrix.allocate(arena, site.weight().outFeatures(), site.weight().inFeatures());
                Objects.requireNonNull((side == 0 ? set : back).adapter(site.name()))
                        .merge(compute, site.weight(), matrix);
                merged[side] = matrix.toArray();
            }
        }
        assertThat(merged[1]).containsExactly(merged[0]);
    }
}
