package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.flux.file.FluxInputsFile;
import io.vectune.models.load.FluxLoader;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FluxRefusalTest {
    private final Arena arena = Arena.ofShared();
    private final FluxModel base = FluxFiles.model("dev", arena);

    @TempDir private Path folder;

    @AfterEach
    void close() {
        arena.close();
    }

    /// A golden file with some tensors changed.
    private Path changed(String file, Consumer<Map<String, Tensor>> change) {
        TensorSource source = FluxFiles.golden(file, arena);
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        source.names().forEach(name -> tensors.put(name, source.tensor(name)));
        change.accept(tensors);
        Path out = folder.resolve(file);
        SafetensorsWriter.write(out, tensors, Map.of());
        return out;
    }

    private FluxAdapter read(Path file) {
        return FluxAdapterFile.read(file, base.config(), arena);
    }

    @Test
    void aControlAdapterForAnotherWidth() {
        FluxModel other = FluxFiles.model("schnell", arena);
        FluxAdapter control = read(FluxFiles.path("control.safetensors"));
        assertThatThrownBy(() -> FluxAdapters.none(other).with(control, 1))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("expected a layer of the transformer")
                .hasMessageContaining("another model");
        Path narrow =
                changed(
                        "control.safetensors",
                        tensors ->
                                tensors.put(
                                        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight",
                                        Tensor.allocate(arena, DType.F32, 3, 64)));
        assertThatThrownBy(() -> FluxAdapters.none(base).with(read(narrow), 1))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("transformer_blocks.0.attn.to_q")
                .hasMessageContaining("expected 32 columns")
                .hasMessageContaining("found 64");
    }

    @Test
    void missingKeysOfTheInput() {
        Path half = changed("control.safetensors", tensors -> tensors.remove("transformer.x_embedder.lora_B.weight"));
        assertThatThrownBy(() -> read(half))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("x_embedder")
                .hasMessageContaining("incomplete");
        Path none =
                changed(
                        "control-bfl.safetensors",
                        tensors -> tensors.keySet().removeIf(name -> name.startsWith("img_in.")));
        assertThatThrownBy(() -> read(none))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("img_in.lora_A.weight");
    }

    @Test
    void keysThatHaveNoPlace() {
        Path unknown =
                changed(
                        "control.safetensors",
                        tensors ->
                                tensors.put(
                                        "transformer.transformer_blocks.7.attn.to_q.lora_A.weight",
                                        Tensor.allocate(arena, DType.F32, 3, 32)));
        assertThatThrownBy(() -> read(unknown))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("transformer_blocks.7.attn.to_q");
        Path dora =
                changed(
                        "kohya.safetensors",
                        tensors ->
                                tensors.put(
                                        "lora_unet_double_blocks_0_img_attn_qkv.dora_scale",
                                        Tensor.allocate(arena, DType.F32, 96)));
        assertThatThrownBy(() -> read(dora)).isInstanceOf(VectuneException.class).hasMessageContaining("DoRA");
        Path encoder =
                changed(
                        "kohya.safetensors",
                        tensors ->
                                tensors.put(
                                        "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
                                        Tensor.allocate(arena, DType.F32)));
        assertThat(read(encoder).ignored()).hasSize(1);
    }

    @Test
    void valuesThatAreNotFinite() {
        Path broken =
                changed(
                        "regular.safetensors",
                        tensors -> {
                            Tensor a = Tensor.allocate(arena, DType.F32, 2, 16);
                            a.setFloat(5, Float.NaN);
                            tensors.put("transformer.x_embedder.lora_A.weight", a);
                        });
        assertThatThrownBy(() -> read(broken))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("x_embedder.lora_A.weight")
                .hasMessageContaining("NaN");
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY})
    void weightsThatAreNotFinite(float weight) {
        FluxAdapter control = read(FluxFiles.path("control.safetensors"));
        FluxAdapters adapters = FluxAdapters.none(base).with(control, 1);
        assertThatThrownBy(() -> adapters.setWeight("control", weight))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("control")
                .hasMessageContaining(Float.toString(weight));
        assertThatThrownBy(() -> FluxAdapters.none(base).with(control, weight))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void namesThatAreTakenOrUnknown() {
        FluxAdapter control = read(FluxFiles.path("control.safetensors"));
        FluxAdapters adapters = FluxAdapters.none(base).with(control, 1);
        assertThatThrownBy(() -> adapters.with(control, 1)).hasMessageContaining("not in use");
        assertThatThrownBy(() -> adapters.setWeight("contrl", 1)).hasMessageContaining("control");
        assertThatThrownBy(() -> adapters.without("other")).hasMessageContaining("other");
    }

    @Test
    void inputsOfTheWrongShape() {
        Map<String, long[]> wrong = new LinkedHashMap<>();
        wrong.put("img_ids", new long[] {11, 3});
        wrong.put("txt_ids", new long[] {5, 2});
        wrong.put("hidden_states", new long[] {2, 12, 32});
        wrong.put("encoder_hidden_states", new long[] {2, 5, 23});
        wrong.put("pooled_projections", new long[] {1, 20});
        wrong.put("timestep", new long[] {3});
        wrong.put("guidance", new long[] {1});
        wrong.forEach((name, shape) -> {
            Path file =
                    changed(
                            "dev-plain.safetensors",
                            tensors -> tensors.put(name, Tensor.allocate(arena, DType.F32, shape)));
            assertThatThrownBy(() -> FluxInputsFile.read(file, base.config(), arena))
                    .as(name)
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining(name)
                    .hasMessageContaining("expected");
        });
        Path missing = changed("dev-plain.safetensors", tensors -> tensors.remove("img_ids"));
        assertThatThrownBy(() -> FluxInputsFile.read(missing, base.config(), arena)).hasMessageContaining("img_ids");
        List<FluxInputs> good = FluxInputsFile.read(FluxFiles.path("dev-plain.safetensors"), base.config(), arena);
        assertThat(good).hasSize(2);
        FluxInputs one = good.getFirst();
        try (ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            FluxPass pass = new FluxPass(base, Map.of(), compute);
            Matrix out = Matrix.allocate(arena, 12, 16);
            FluxInputs badIds =
                    new FluxInputs(
                            one.hiddenStates(),
                            one.encoderHiddenStates(),
                            one.pooledProjections(),
                            one.timestep(),
                            one.guidance(),
                            one.textIds(),
                            one.textIds());
            assertThatThrownBy(() -> pass.predict(badIds, out))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("img_ids");
            FluxInputs noGuidance =
                    new FluxInputs(
                            one.hiddenStates(),
                            one.encoderHiddenStates(),
                            one.pooledProjections(),
                            one.timestep(),
                            null,
                            one.imageIds(),
                            one.textIds());
            assertThatThrownBy(() -> pass.predict(noGuidance, out)).hasMessageContaining("guidance");
        }
    }

    @Test
    void numbersOfTheInputsThatAreNotFinite() {
        for (String name : List.of("timestep", "guidance")) {
            Path file =
                    changed(
                            "dev-plain.safetensors",
                            tensors -> {
                                Tensor numbers = Tensor.allocate(arena, DType.F32, 2);
                                numbers.setFloat(1, Float.NaN);
                                tensors.put(name, numbers);
                            });
            assertThatThrownBy(() -> FluxInputsFile.read(file, base.config(), arena))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining(file + ": " + name)
                    .hasMessageContaining("NaN");
        }
    }

    @Test
    void residualsOfAControlNet() {
        Path file =
                changed(
                        "dev-plain.safetensors",
                        tensors ->
                                tensors.put(
                                        "controlnet_single_block_samples",
                                        Tensor.allocate(arena, DType.F32, 2, 12, 32)));
        assertThatThrownBy(() -> FluxInputsFile.read(file, base.config(), arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("controlnet_single_block_samples")
                .hasMessageContaining("not supported");
    }

    @Test
    void latentsAloneForAControlAdapter() {
        FluxAdapter control = read(FluxFiles.path("control.safetensors"));
        FluxModel wide = FluxAdapters.none(base).with(control, 1).model();
        Path plain = FluxFiles.path("dev-plain.safetensors");
        assertThatThrownBy(() -> FluxInputsFile.read(plain, wide.config(), arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("hidden_states")
                .hasMessageContaining("control latents");
    }

    @Test
    void alphasAndRanksThatMakeNoSense() {
        Path alpha =
                changed(
                        "regular.safetensors",
                        tensors -> {
                            Tensor number = Tensor.allocate(arena, DType.F32);
                            number.setFloat(0, Float.NaN);
                            tensors.put("transformer.x_embedder.alpha", number);
                        });
        assertThatThrownBy(() -> read(alpha))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("x_embedder.alpha")
                .hasMessageContaining("NaN");
        Path rank =
                changed(
                        "regular.safetensors",
                        tensors -> {
                            tensors.put(
                                    "transformer.x_embedder.lora_A.weight", Tensor.allocate(arena, DType.F32, 0, 16));
                            tensors.put(
                                    "transformer.x_embedder.lora_B.weight", Tensor.allocate(arena, DType.F32, 32, 0));
                        });
        assertThatThrownBy(() -> read(rank))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("x_embedder.lora_A.weight")
                .hasMessageContaining("rank of at least 1");
    }

    @Test
    void changesOfWholeWeightsUnlessTheyAreZero() {
        String key = "diffusion_model.double_blocks.0.img_attn.norm.query_norm.scale.diff";
        Tensor change = Tensor.allocate(arena, DType.F32, 16);
        Path zero = changed("comfy.safetensors", tensors -> tensors.put(key, change));
        assertThat(read(zero).updates()).isNotEmpty();
        change.setFloat(3, 0.5f);
        Path other = changed("comfy.safetensors", tensors -> tensors.put(key, change));
        assertThatThrownBy(() -> read(other))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining(key)
                .hasMessageContaining("expected zeros");
    }

    @ParameterizedTest
    @ValueSource(strings = {"\"4\"", "1e300"})
    void alphasOfTheMetadataThatMakeNoSense(String alpha) {
        TensorSource source = FluxFiles.golden("regular-peft.safetensors", arena);
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        source.names().forEach(name -> tensors.put(name, source.tensor(name)));
        Path file = folder.resolve("metadata.safetensors");
        String json = "{\"transformer.r\": 2, \"transformer.lora_alpha\": " + alpha + "}";
        SafetensorsWriter.write(file, tensors, Map.of("lora_adapter_metadata", json));
        assertThatThrownBy(() -> read(file))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining(file.toString())
                .hasMessageContaining("alpha")
                .hasMessageContaining("number");
    }

    private static Map<String, Float> scales(FluxAdapter adapter) {
        Map<String, Float> scales = new LinkedHashMap<>();
        adapter.updates().forEach((module, update) -> scales.put(module, update.scale()));
        return scales;
    }

    @Test
    void theFileOfAPeftDirectoryHasItsConfiguration() throws IOException {
        Files.copy(FluxFiles.path("regular-peft.safetensors"), folder.resolve("adapter_model.safetensors"));
        Files.writeString(folder.resolve("adapter_config.json"), "{\"peft_type\": \"LORA\", \"lora_alpha\": 7}");
        FluxAdapter ofDirectory = read(folder);
        FluxAdapter ofFile = read(folder.resolve("adapter_model.safetensors"));
        assertThat(scales(ofFile)).isEqualTo(scales(ofDirectory));
        assertThat(scales(ofFile).values()).containsOnly(3.5f);
    }

    @Test
    void directoriesThatAreNoTransformer() throws IOException {
        assertThatThrownBy(() -> FluxLoader.load(folder, arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("config.json");
        assertThat(FluxLoader.isOne(folder)).isFalse();
        Path config = folder.resolve("config.json");
        Files.writeString(config, "{\"_class_name\": \"UNet2DConditionModel\"}");
        assertThatThrownBy(() -> FluxLoader.load(folder, arena))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("FluxTransformer2DModel")
                .hasMessageContaining("UNet2DConditionModel");
        Files.writeString(config, "{\"_class_name\": \"FluxTransformer2DModel\", \"axes_dims_rope\": [16, 56, 57]}");
        assertThatThrownBy(() -> FluxLoader.load(folder, arena)).hasMessageContaining("axes_dims_rope");
        assertThat(FluxLoader.isOne(FluxFiles.path("dev"))).isTrue();
    }
}
