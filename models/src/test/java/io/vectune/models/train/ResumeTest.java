package io.vectune.models.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.Linear;
import io.vectune.models.transform.QuantizedModel;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What a checkpoint is refused for: each message names what differs, and only that.
class ResumeTest {
    private static final Map<String, Object> FIELDS =
            Map.of("r", 4, "lora_alpha", 8, "target_modules", List.of("q_proj", "down_proj"));

    @TempDir private Path folder;

    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(1);
    private final Compute compute = new Compute(team);
    private final DecoderModel model = TestModels.load("llama", arena);
    private Path checkpoint = Path.of("");

    @BeforeEach
    void save() {
        checkpoint = folder.resolve("checkpoint.safetensors");
        try (AdapterSet set = set(model, "lora", FIELDS);
                Trainer trainer = trainer(model, set)) {
            trainer.step();
            trainer.save(checkpoint);
        }
    }

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private AdapterSet set(DecoderModel host, String kind, Map<String, ?> fields) {
        return AdapterSet.create(AdapterConfig.of(kind, fields), host.sites(), compute, 1);
    }

    private Trainer trainer(DecoderModel host, AdapterSet set) {
        List<TokenRow> rows = List.of(TokenRow.ofText(3, 4, 5, 6, 7), TokenRow.ofText(9, 8, 7));
        TrainerOptions options = TrainerOptions.of(1e-2, OptimizerChoice.AdamW.withDefaults(0), 3, 1);
        return new Trainer(host, set, compute, new BatchPlan(rows, 2, 1, false, 0), options);
    }

    private String refusal(DecoderModel host, String kind, Map<String, ?> fields) {
        String[] message = new String[1];
        try (AdapterSet set = set(host, kind, fields);
                Trainer trainer = trainer(host, set)) {
            assertThatThrownBy(() -> trainer.resume(checkpoint))
                    .isInstanceOf(VectuneException.class)
                    .satisfies(refused -> message[0] = String.valueOf(refused.getMessage()));
            assertThat(trainer.stepsDone()).isZero();
        }
        return message[0];
    }

    private static Map<String, Object> with(String field, Object value) {
        Map<String, Object> fields = new HashMap<>(FIELDS);
        fields.put(field, value);
        return fields;
    }

    @Test
    void goesOnWithTheSameModelReadAgainFromAnotherPlace() {
        DecoderModel again = TestModels.load("llama", arena);
        Map<String, Object> elsewhere = with("base_model_name_or_path", "/another/path");
        try (AdapterSet set = set(again, "lora", elsewhere);
                Trainer trainer = trainer(again, set)) {
            trainer.resume(checkpoint);
            assertThat(trainer.stepsDone()).isEqualTo(1);
        }
    }

    @Test
    void namesFieldsOfTheAdapter() {
        String start = checkpoint + ": the checkpoint is of a run with other settings: ";
        String end = "; resume with the options of that run";
        assertThat(refusal(model, "lora", with("lora_alpha", 16)))
                .isEqualTo(start + "adapter lora_alpha: expected 16, found 8" + end);
        assertThat(refusal(model, "lora", with("r", 2))).isEqualTo(start + "adapter r: expected 2, found 4" + end);
        assertThat(refusal(model, "lora", with("lora_dropout", 0.5)))
                .isEqualTo(start + "adapter lora_dropout: expected 0.5, found 0.0" + end);
        assertThat(refusal(model, "lora", with("use_rslora", true)))
                .isEqualTo(start + "adapter use_rslora: expected true, found false" + end);
        assertThat(refusal(model, "lora", with("rank_pattern", Map.of("q_proj", 2, "down_proj", 3))))
                .isEqualTo(start + "adapter rank_pattern: expected {\"down_proj\":3,\"q_proj\":2}, found {}" + end);
        assertThat(refusal(model, "lora", with("target_modules", List.of("q_proj", "up_proj"))))
                .isEqualTo(
                        start
                                + "adapter target_modules: expected [\"q_proj\",\"up_proj\"], found"
                                + " [\"q_proj\",\"down_proj\"]"
                                + end);
        assertThat(refusal(model, "dora", FIELDS))
                .isEqualTo(start + "adapter use_dora: expected true, found false" + end);
        assertThat(refusal(model, "hra", Map.of("r", 4)))
                .contains(
                        "adapter peft_type: expected \"HRA\", found \"LORA\"", "adapter lora_alpha: expected nothing");
    }

    @Test
    void namesTheQuantization() {
        DecoderModel hqq = quantized(QuantizeOptions.of("hqq").withGroupSize("32"));
        assertThat(refusal(hqq, "lora", FIELDS))
                .contains("quantization: expected ", "hqq 4-bit, group 32, axis 1", ", found ", " layers f32")
                .contains("; model weights: expected digest ")
                .doesNotContain("adapter ");
        try (AdapterSet set = set(hqq, "lora", FIELDS);
                Trainer trainer = trainer(hqq, set)) {
            trainer.save(checkpoint);
        }
        assertThat(refusal(quantized(QuantizeOptions.of("hqq").withBits("3").withGroupSize("32")), "lora", FIELDS))
                .contains("hqq 3-bit, group 32", "hqq 4-bit, group 32");
        assertThat(refusal(quantized(QuantizeOptions.of("hqq").withGroupSize("16")), "lora", FIELDS))
                .contains("hqq 4-bit, group 16", "hqq 4-bit, group 32");
    }

    private DecoderModel quantized(QuantizeOptions options) {
        return QuantizedModel.of(
                model, Quantizers.of(options), QuantizedModel.ALL_BUT_HEAD, compute, arena, layer -> {});
    }

    @Test
    void namesTheModel() {
        DecoderModel other = TestModels.load("llama-bias", arena);
        assertThat(refusal(other, "lora", FIELDS)).contains("model weights: expected digest ");
        DecoderModel scaled =
                model.withNorms((name, scale) -> {
                    Matrix copy = Matrix.allocate(arena, 1, scale.columns());
                    copy.copyFrom(scale);
                    copy.set(0, 0, scale.get(0, 0) * (name.equals(DecoderModel.NORM) ? 1.5f : 1));
                    return copy;
                });
        assertThat(refusal(scaled, "lora", FIELDS))
                .matches(
                        ".*other settings: model weights: expected digest [0-9a-f]{16}, found digest [0-9a-f]{16}; .*");
        DecoderModel swapped =
                model.withLinears(linear ->
                        linear.name().equals("model.layers.0.self_attn.k_proj")
                                ? new Linear(linear.name(), model.layers().getFirst().value().weight(), null)
                                : linear);
        assertThat(refusal(swapped, "lora", FIELDS)).contains("other settings: model weights: expected digest ");
    }

    @Test
    void refusesCheckpointsThatDoNotSayWhatTheyAreOf() {
        rewrite("AdamW[beta1=0.9], learning rate 0.01");
        assertThat(refusal(model, "lora", FIELDS))
                .isEqualTo(
                        checkpoint
                                + ": expected a checkpoint that says which model and adapter it belongs to, found one of"
                                + " an earlier version; start the run again");
        rewrite("{\"seed\": \"1\"}");
        assertThat(refusal(model, "lora", FIELDS)).contains("adapter r: expected 4, found nothing");
        rewrite("{\"seed\": ");
        try (AdapterSet set = set(model, "lora", FIELDS);
                Trainer trainer = trainer(model, set)) {
            assertThatThrownBy(() -> trainer.resume(checkpoint))
                    .isInstanceOf(FileFormatException.class)
                    .hasMessageContaining("not valid JSON");
        }
    }

    private void rewrite(String settings) {
        Path copy = folder.resolve("copy.safetensors");
        try (Arena passing = Arena.ofShared()) {
            SafetensorsFile file = SafetensorsFile.open(checkpoint, passing);
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            file.names().forEach(name -> tensors.put(name, file.tensor(name)));
            Map<String, String> metadata = new HashMap<>(file.metadata());
            metadata.put("vectune.settings", settings);
            SafetensorsWriter.write(copy, tensors, metadata);
        }
        checkpoint = copy;
    }
}
