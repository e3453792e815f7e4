package io.vectune.models.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.file.PeftDirectory;
import io.vectune.models.TestModels;
import io.vectune.models.checkpoint.MergeCheckpoint;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.decoder.PassLimits;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.models.load.ModelLoader;
import io.vectune.models.transform.MergedModel;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Losses, gradients and parameters of real peft, on every base it was run on.
class PeftGoldenTest {
    private static final double RTOL = 1e-4;
    private static final double MERGE_RTOL = 1e-6;
    private static final int BATCHES = 5;
    private static final int BATCH_ROWS = 3;
    private static final String KEY_PREFIX = "base_model.model.";

    @ParameterizedTest
    @ValueSource(
            strings = {
                "tiny-llama-lora",
                "tiny-llama-dora",
                "tiny-llama-patterns",
                "tiny-llama-hqq4-lora",
                "tiny-llama-hqq4-dora",
                "llama-lora",
                "llama-dora",
                "llama-bias-dora",
                "qwen3-dora",
                "llama-rope-llama3-lora",
                "qwen2-lora",
                "llama-rope-linear-lora",
                "llama-ln",
                "tiny-llama-tokens",
                "qwen3-tokens",
                "qwen3-norms",
                "llama-bias-embed",
                "llama-bias-all"
            })
    void trainsAsPeft(String name) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            TensorSource golden = TestModels.golden("peft/goldens/" + name + ".safetensors", arena);
            DecoderModel model = TestModels.loadBase(metadata(golden, "base"), arena);
            List<TokenRow> rows = rows(golden);
            try (AdapterSet set = adapters(golden, model, compute)) {
                checkLogits(golden, model, set, compute);
                checkMerged(golden, model, set, compute);
                checkGradients(golden, model, set, compute);
                checkSgd(golden, model, set, compute, rows);
            }
            try (AdapterSet set = adapters(golden, model, compute)) {
                checkAdamW(golden, model, set, compute, rows);
            }
        }
    }

    // The groups of create_loraplus_optimizer: lora_B and vectors have the higher rate, biases no decay.
    @ParameterizedTest
    @ValueSource(strings = {"llama-lora", "qwen3-dora", "llama-bias-all"})
    void trainsWithTheGroupsOfLoraPlus(String name) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            TensorSource golden = TestModels.golden("peft/goldens/loraplus-" + name + ".safetensors", arena);
            DecoderModel model = TestModels.loadBase(metadata(golden, "base"), arena);
            TrainerOptions options =
                    new TrainerOptions(
                            Double.parseDouble(metadata(golden, "lr")),
                            OptimizerChoice.AdamW.withDefaults(Double.parseDouble(metadata(golden, "weight_decay"))),
                            new LearningRateSchedule(LearningRateSchedule.Shape.CONSTANT, 0, BATCHES),
                            0,
                            false,
                            Double.parseDouble(metadata(golden, "ratio")),
                            true,
                            0);
            try (AdapterSet set = adapters(golden, model, compute)) {
                checkAdamW(golden, model, set, compute, rows(golden), options);
                checkAfter("after_adamw.", golden, set);
            }
        }
    }

    /// Norms, embeddings and tied heads too, into copies of the model.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "llama-ln",
                "tiny-llama-tokens",
                "qwen3-tokens",
                "qwen3-norms",
                "llama-bias-embed",
                "llama-lora"
            })
    void mergesIntoAModel(String name, @TempDir Path directory) {
        try (Arena arena = Arena.ofShared();
                ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            TensorSource golden = TestModels.golden("peft/goldens/" + name + ".safetensors", arena);
            String base = metadata(golden, "base");
            DecoderModel model = TestModels.loadBase(base, arena);
            try (AdapterSet set = adapters(golden, model, compute)) {
                MergeCheckpoint.directory(
                        TestModels.directory(base), directory, true, set, DType.F32, compute, layer -> {});
                checkLogits(golden, ModelLoader.load(directory, arena).decoder(), compute);
                checkLogits(golden, MergedModel.of(model, set.adapters(), compute, arena), compute);
            }
        }
    }

    private static void checkLogits(TensorSource golden, DecoderModel merged, Compute compute) {
        int[] ids = TestModels.ids(golden, "input_ids");
        try (Arena arena = Arena.ofShared();
                DecoderSession session = new DecoderSession(merged, Map.of(), compute, ids.length)) {
            Matrix logits = Matrix.allocate(arena, ids.length, merged.config().vocabSize());
            session.appendAll(ids, logits);
            assertThat(TestModels.relativeError(logits.toArray(), TestModels.floats(golden, "logits")))
                    .isLessThanOrEqualTo(RTOL);
        }
    }

    private static void checkLogits(TensorSource golden, DecoderModel model, AdapterSet set, Compute compute) {
        int[] ids = TestModels.ids(golden, "input_ids");
        try (Arena arena = Arena.ofShared()) {
            Matrix logits = Matrix.allocate(arena, ids.length, model.config().vocabSize());
            for (String which : List.of("logits", "base_logits")) {
                Map<String, Adapter> adapters = which.equals("logits") ? set.adapters() : Map.of();
                try (DecoderSession session = new DecoderSession(model, adapters, compute, ids.length)) {
                    session.appendAll(ids, logits);
                }
                assertThat(TestModels.relativeError(logits.toArray(), TestModels.floats(golden, which)))
                        .as(which)
                        .isLessThanOrEqualTo(RTOL);
            }
        }
    }

    private static void checkMerged(TensorSource golden, DecoderModel model, AdapterSet set, Compute compute) {
        try (Arena arena = Arena.ofShared()) {
            for (LayerSite site : model.sites()) {
                String key = "merged." + site.name() + ".weight";
                Adapter adapter = set.adapter(site.name());
                if (golden.contains(key) && adapter != null) {
                    Matrix merged = Matrix.allocate(arena, site.weight().outFeatures(), site.weight().inFeatures());
                    adapter.merge(compute, site.weight(), merged);
                    assertThat(TestModels.relativeError(merged.toArray(), TestModels.floats(golden, key)))
                            .as(key)
                            .isLessThanOrEqualTo(MERGE_RTOL);
                }
            }
        }
    }

    private static void checkGradients(TensorSource golden, DecoderModel model, AdapterSet set, Compute compute) {
        SequenceBatch batch = TestModels.batch(golden, 0, BATCH_ROWS);
        PassLimits limits = new PassLimits(batch.tokens(), batch.longestRow());
        try (DecoderPass pass = DecoderPass.forTraining(model, set.adapters(), compute, limits, false);
                AdapterGradients gradients = new AdapterGradients(set.adapters())) {
            double loss = pass.lossAndGradients(batch, 1.0 / batch.labelledTokens(), 0, gradients);
            assertClose("sgd_loss", loss / batch.labelledTokens(), golden.tensor("sgd_loss").getFloat(0));
            set.adapters()
                    .forEach((module, adapter) -> {
                        List<AdapterParameter> parameters = adapter.trainableParameters();
                        for (int index = 0; index < parameters.size(); index++) {
                            compare(
                                    golden,
                                    "gradient." + key(module, parameters.get(index)),
                                    gradients.of(module).get(index));
                        }
                    });
        }
    }

    private static void checkSgd(
            TensorSource golden, DecoderModel model, AdapterSet set, Compute compute, List<TokenRow> rows) {
        BatchPlan batches = new BatchPlan(rows.subList(0, BATCH_ROWS), BATCH_ROWS, 1, false, 0);
        TrainerOptions options = TrainerOptions.of(0.1, new OptimizerChoice.Sgd(0, 0), 1, 0);
        try (Trainer trainer = new Trainer(model, set, compute, batches, options)) {
            trainer.step();
        }
        checkAfter("after_sgd.", golden, set);
    }

    private static void checkAfter(String prefix, TensorSource golden, AdapterSet set) {
        List<String> compared = new ArrayList<>();
        set.adapters()
                .forEach((module, adapter) -> {
                    for (AdapterParameter parameter : adapter.trainableParameters()) {
                        String key = prefix + key(module, parameter);
                        if (compare(golden, key, parameter.values())) {
                            compared.add(key);
                        }
                    }
                });
        assertThat(compared)
                .containsExactlyInAnyOrderElementsOf(
                        golden.names().stream().filter(key -> key.startsWith(prefix)).toList());
    }

    private static void checkAdamW(
            TensorSource golden, DecoderModel model, AdapterSet set, Compute compute, List<TokenRow> rows) {
        TrainerOptions options = TrainerOptions.of(1e-3, OptimizerChoice.AdamW.withDefaults(0), BATCHES, 0);
        checkAdamW(golden, model, set, compute, rows, options);
    }

    private static void checkAdamW(
            TensorSource golden,
            DecoderModel model,
            AdapterSet set,
            Compute compute,
            List<TokenRow> rows,
            TrainerOptions options) {
        BatchPlan batches = new BatchPlan(rows, BATCH_ROWS, 1, false, 0);
        float[] expected = TestModels.floats(golden, "adamw_losses");
        try (Trainer trainer = new Trainer(model, set, compute, batches, options)) {
            for (int step = 0; step < BATCHES; step++) {
                assertClose("loss of step " + step, trainer.step().loss(), expected[step]);
            }
        }
    }

    private static boolean compare(TensorSource golden, String key, Matrix found) {
        if (!golden.contains(key)) {
            return false;
        }
        assertThat(TestModels.relativeError(found.toArray(), TestModels.floats(golden, key)))
                .as(key)
                .isLessThanOrEqualTo(RTOL);
        return true;
    }

    private static void assertClose(String what, double found, double expected) {
        assertThat(Math.abs(found - expected) / Math.abs(expected)).as(what).isLessThanOrEqualTo(RTOL);
    }

    private static String key(String module, AdapterParameter parameter) {
        AdapterParameter.Stored stored = parameter.stored();
        return KEY_PREFIX + module + "." + (stored == null ? parameter.name() : stored.key());
    }

    private static AdapterSet adapters(TensorSource golden, DecoderModel model, Compute compute) {
        return PeftDirectory.read(
                TestModels.data().resolve("peft/adapters").resolve(metadata(golden, "adapter")),
                model.sites(),
                compute);
    }

    private static String metadata(TensorSource golden, String name) {
        String value = golden.metadata().get(name);
        assertThat(value).as(name).isNotNull();
        return String.valueOf(value).replaceFirst(".*/", "");
    }

    private static List<TokenRow> rows(TensorSource golden) {
        Tensor shape = golden.tensor("batch_input_ids");
        int length = Math.toIntExact(shape.size(2));
        int[] ids = TestModels.ids(golden, "batch_input_ids");
        int[] mask = TestModels.ids(golden, "batch_attention_mask");
        int[] labels = TestModels.ids(golden, "batch_labels");
        List<TokenRow> rows = new ArrayList<>();
        for (int row = 0; row < BATCHES * BATCH_ROWS; row++) {
            int start = row * length;
            int used = Arrays.stream(mask, start, start + length).sum();
            rows.add(
                    new TokenRow(
                            Arrays.copyOfRange(ids, start, start + used),
                            Arrays.copyOfRange(labels, start, start + used)));
        }
        return rows;
    }
}
