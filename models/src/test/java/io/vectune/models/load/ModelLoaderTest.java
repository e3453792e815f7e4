package io.vectune.models.load;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderConfig;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.nn.RotaryScaling;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.node.ObjectNode;

class ModelLoaderTest {
    @TempDir private Path directory;

    @BeforeEach
    void copyModel() throws IOException {
        for (String file : new String[] {"config.json", "model.safetensors"}) {
            Files.copy(TestModels.directory("llama").resolve(file), directory.resolve(file));
        }
    }

    @Test
    void readsTheShapeAndTheEndTokens() {
        try (Arena arena = Arena.ofConfined()) {
            LoadedModel model = ModelLoader.load(directory, arena);
            DecoderConfig config = model.decoder().config();
            assertThat(config.hiddenSize()).isEqualTo(64);
            assertThat(config.headDim()).isEqualTo(16);
            assertThat(config.rotaryScaling()).isEqualTo(new RotaryScaling.None());
            assertThat(model.decoder().isTied()).isTrue();
            assertThat(model.generation().endTokens()).containsExactly(2);
            assertThat(model.decoder().linears()).hasSize(15);
            long matrices = 320L * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128);
            assertThat(model.decoder().parameters()).isEqualTo(matrices + 5 * 64);
        }
    }

    @Test
    void readsSeveralEndTokensFromTheGenerationConfig() throws IOException {
        Files.writeString(directory.resolve("generation_config.json"), "{\"eos_token_id\": [2, 7]}");
        try (Arena arena = Arena.ofConfined()) {
            assertThat(ModelLoader.load(directory, arena).generation().endTokens()).containsExactlyInAnyOrder(2, 7);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "vocab_size",
                "rms_norm_eps"
            })
    void namesFileAndFieldThatIsMissing(String field) {
        edit(config -> config.remove(field));
        refuses("config.json", field, "missing");
    }

    @ParameterizedTest
    @CsvSource({
        "hidden_size, 64.5, an integer",
        "num_key_value_heads, 3, divisor",
        "hidden_act, gelu, silu",
        "use_sliding_window, true, not supported",
        "tie_word_embeddings, 1, true or false",
        "num_attention_heads, 0, at least 1"
    })
    void refusesFieldsThatItCannotUse(String field, String value, String words) {
        edit(config -> {
            switch (value) {
                case "true" -> config.put(field, true);
                case "gelu" -> config.put(field, value);
                case "64.5" -> config.put(field, 64.5);
                default -> config.put(field, Integer.parseInt(value));
            }
        });
        refuses("config.json", field, words);
    }

    @Test
    void refusesAnUnknownArchitectureByName() {
        edit(config -> config.putArray("architectures").add("MambaForCausalLM"));
        refuses("config.json", "MambaForCausalLM", "LlamaForCausalLM");
    }

    @Test
    void refusesAnUnknownRotaryScalingByName() {
        edit(config -> config.putObject("rope_parameters").put("rope_type", "yarn").put("factor", 2));
        refuses("config.json", "yarn", "llama3");
    }

    @ParameterizedTest
    @ValueSource(strings = {"rope_scaling", "rope_parameters"})
    void refusesARotaryScalingOfAnotherTypeByName(String field) {
        edit(config -> config.put(field, 2));
        refuses("config.json: " + field + ": expected an object, found 2");
        edit(config -> config.put(field, "linear"));
        refuses("config.json: " + field + ": expected an object, found \"linear\"");
        edit(config -> config.putArray(field).add(2));
        refuses("config.json: " + field + ": expected an object, found [2]");
        edit(config -> config.putObject(field).put("rope_type", 3));
        refuses("config.json: " + field + ": rope_type: expected a string, found 3");
        edit(config -> config.putObject(field).put("rope_type", "linear").put("factor", "2"));
        refuses("config.json: " + field + ": factor: expected a number, found \"2\"");
        edit(config -> config.putObject(field).put("rope_type", "linear"));
        refuses("config.json: " + field + ": the field factor is missing");
        edit(config -> config.putObject(field).put("rope_type", "default").put("rope_theta", true));
        refuses("config.json: " + field + ": rope_theta: expected a number, found true");
    }

    @Test
    void rotaryParametersComeFromThePlaceThatTransformersReads() {
        edit(config -> config.putObject("rope_parameters").put("rope_type", "default").put("rope_theta", 5e5));
        assertThat(config().ropeTheta()).isEqualTo(5e5);
        edit(config -> config.putObject("rope_scaling"));
        assertThat(config().ropeTheta()).isEqualTo(5e5);
        edit(config -> config.putObject("rope_scaling").put("type", "linear").put("factor", 2));
        assertThat(config().rotaryScaling()).isEqualTo(new RotaryScaling.Linear(2));
        assertThat(config().ropeTheta()).isEqualTo(1e4);
        edit(config -> config.put("rope_theta", 7e5));
        assertThat(config().ropeTheta()).isEqualTo(7e5);
    }

    private DecoderConfig config() {
        try (Arena arena = Arena.ofConfined()) {
            return ModelLoader.load(directory, arena).decoder().config();
        }
    }

    @Test
    void namesTheTensorThatIsMissing() {
        rewrite(tensors -> tensors.remove("model.layers.1.mlp.up_proj.weight"));
        refuses("model.layers.1.mlp.up_proj.weight");
    }

    @Test
    void namesTheTensorThatIsUnexpected() {
        rewrite(tensors -> tensors.put("model.layers.0.mlp.extra.weight", tensors.get("model.norm.weight")));
        refuses("unexpected", "model.layers.0.mlp.extra.weight");
    }

    @Test
    void namesTheTensorOfAnotherShape() {
        rewrite(tensors -> tensors.put("model.layers.0.mlp.up_proj.weight", tensors.get("model.norm.weight")));
        refuses("model.layers.0.mlp.up_proj.weight", "[128, 64]", "[64]");
    }

    @Test
    void namesTheTensorOfAnotherType() {
        try (Arena arena = Arena.ofShared()) {
            Tensor integers = Tensor.allocate(arena, DType.I32, 128, 64);
            rewrite(tensors -> tensors.put("model.layers.0.mlp.up_proj.weight", integers));
        }
        refuses("model.layers.0.mlp.up_proj.weight", "I32");
    }

    @Test
    void refusesWhatIsNoModel() throws IOException {
        Path other = Files.createDirectory(directory.resolve("empty"));
        assertThatThrownBy(() -> load(other)).isInstanceOf(VectuneException.class).hasMessageContaining("config.json");
        assertThatThrownBy(() -> load(directory.resolve("nothing")))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining("no such file");
        assertThatThrownBy(() -> load(directory.resolve("config.json")))
                .isInstanceOf(VectuneException.class)
                .hasMessageContaining(".gguf");
    }

    private void edit(Consumer<ObjectNode> change) {
        ObjectNode config = StrictJson.readObject(directory.resolve("config.json"));
        change.accept(config);
        StrictJson.write(directory.resolve("config.json"), config);
    }

    private void rewrite(Consumer<Map<String, Tensor>> change) {
        Path file = directory.resolve("model.safetensors");
        Path changed = directory.resolve("changed.safetensors");
        try (Arena arena = Arena.ofShared()) {
            SafetensorsFile source = SafetensorsFile.open(file, arena);
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            source.names().forEach(name -> tensors.put(name, source.tensor(name)));
            change.accept(tensors);
            SafetensorsWriter.write(changed, tensors, Map.of());
        }
        try {
            Files.move(changed, file, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException failure) {
            throw new AssertionError(failure);
        }
    }

    private void refuses(String... words) {
        assertThatThrownBy(() -> load(directory))
                .isInstanceOf(VectuneException.class)
                .hasMessageContainingAll(words)
                .hasMessageNotContaining("\n");
    }

    private static void load(Path path) {
        try (Arena arena = Arena.ofConfined()) {
            ModelLoader.load(path, arena);
        }
    }
}
