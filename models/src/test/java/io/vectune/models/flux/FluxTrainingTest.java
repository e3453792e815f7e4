package io.vectune.models.flux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.TestModels;
import io.vectune.models.flux.file.FluxAdapterFile;
import io.vectune.models.flux.file.FluxAdapterWriter;
import io.vectune.models.flux.file.FluxRowsFile;
import io.vectune.models.train.FlowMatchingObjective;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.quant.QuantizeOptions;
import io.vectune.quant.Quantizers;
import io.vectune.quant.WeightQuantizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.safetensors.TensorSource;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DecodedWeight;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FluxTrainingTest {
    private final Arena arena = Arena.ofShared();
    private final ThreadTeam team = ThreadTeam.of(2);
    private final Compute compute = new Compute(team);
    private final FluxModel base = FluxFiles.model("dev", arena);

    @TempDir private Path folder;

    @AfterEach
    void close() {
        compute.close();
        team.close();
        arena.close();
    }

    private List<FluxRow> rows() {
        TensorSource golden = FluxFiles.golden("dev-gradients.safetensors", arena);
        Map<String, Tensor> tensors = new LinkedHashMap<>();
        for (String name : List.of("latents", "encoder_hidden_states", "pooled_projections", "img_ids", "txt_ids")) {
            tensors.put(name, golden.tensor(name));
        }
        tensors.put("control", golden.tensor("condition"));
        Path file = folder.resolve("rows.safetensors");
        SafetensorsWriter.write(file, tensors, Map.of());
        return FluxRowsFile.read(file, base.config(), arena);
    }

    private static Trainer trainer(
            FluxModel model,
            AdapterSet set,
            Compute compute,
            List<FluxRow> rows,
            FlowMatching task,
            int rowsPerStep,
            TrainerOptions options) {
        FlowMatchingObjective objective =
                new FlowMatchingObjective(model, set, compute, rows, task, rowsPerStep, false);
        return new Trainer(set, compute, objective, options);
    }

    private FluxModel quantized(String method) {
        WeightQuantizer quantizer = Quantizers.of(QuantizeOptions.of(method));
        return base.withLinears(linear -> {
            boolean fits = linear.weight().inFeatures() % 64 == 0;
            return fits && linear.weight() instanceof DenseWeight dense
                    ? linear.withWeight(quantizer.quantize(compute, linear.name(), dense.tensor(), arena))
                    : linear;
        });
    }

    @Test
    void aControlLoraLearnsAndItsFileGivesTheSamePrediction() {
        List<FluxRow> rows = rows();
        FluxModel wide = base.widened(rows.getFirst().inChannels());
        AdapterConfig config =
                AdapterConfig.of("lora", Map.of("r", 4, "lora_alpha", 8, "target_modules", "all-linear"));
        FlowMatching task = new FlowMatching(FlowMatching.Sampling.LOGIT_NORMAL, 3.5f, 1);
        TrainerOptions options = TrainerOptions.of(5e-3, OptimizerChoice.AdamW.withDefaults(0), 60, 1).withClip(1);
        try (AdapterSet set = AdapterSet.create(config, wide.sites(), compute, 1);
                Trainer trainer = trainer(wide, set, compute, rows, task, 2, options)) {
            double[] losses = new double[60];
            trainer.run(step -> losses[step.step() - 1] = step.loss());
            double early = 0;
            double late = 0;
            for (int i = 0; i < 10; i++) {
                early += losses[i];
                late += losses[50 + i];
            }
            assertThat(late).isLessThan(0.7 * early);

            Path file = folder.resolve("trained.safetensors");
            FluxAdapterWriter.write(set, Map.of(), file);
            FluxAdapter read = FluxAdapterFile.read(file, base.config(), arena);
            FluxAdapters loaded = FluxAdapters.none(base).with(read, 1);
            FluxInputs inputs = task.draw(rows.getFirst(), 7, arena).inputs();
            Matrix trained = Matrix.allocate(arena, 12, 16);
            Matrix again = Matrix.allocate(arena, 12, 16);
            new FluxPass(wide, set.adapters(), compute).predict(inputs, trained);
            new FluxPass(loaded.model(), loaded.layers(), compute).predict(inputs, again);
            assertThat(TestModels.relativeError(again.toArray(), trained.toArray())).isLessThan(1e-5);
        }
    }

    @Test
    void lossesHaveTheSameBitsForAnyNumberOfThreads() {
        List<FluxRow> rows = rows();
        FluxModel wide = base.widened(rows.getFirst().inChannels());
        AdapterConfig config = AdapterConfig.of("lora", Map.of("r", 2, "target_modules", "all-linear"));
        FlowMatching task = new FlowMatching(FlowMatching.Sampling.UNIFORM, 3.5f, 1);
        TrainerOptions options = TrainerOptions.of(1e-2, OptimizerChoice.AdamW.withDefaults(0), 3, 1);
        double[][] losses = new double[2][3];
        for (int run = 0; run < 2; run++) {
            double[] own = losses[run];
            try (ThreadTeam threads = ThreadTeam.of(1 + 2 * run);
                    Compute session = new Compute(threads);
                    AdapterSet set = AdapterSet.create(config, wide.sites(), session, 1);
                    Trainer trainer = trainer(wide, set, session, rows, task, 1, options)) {
                trainer.run(step -> own[step.step() - 1] = step.loss());
            }
        }
        assertThat(losses[1]).isEqualTo(losses[0]);
    }

    @Test
    void aResumedRunHasTheBitsOfAnUninterruptedOne() {
        List<FluxRow> rows = rows();
        FluxModel wide = base.widened(rows.getFirst().inChannels());
        AdapterConfig config =
                AdapterConfig.of("lora", Map.of("r", 2, "lora_dropout", 0.1, "target_modules", "all-linear"));
        FlowMatching task = new FlowMatching(FlowMatching.Sampling.UNIFORM, 3.5f, 1);
        TrainerOptions options = TrainerOptions.of(1e-2, OptimizerChoice.AdamW.withDefaults(0.1), 5, 1).withClip(1);
        Path checkpoint = folder.resolve("checkpoint.safetensors");
        double[] losses = new double[5];
        double[] resumed = new double[5];
        try (AdapterSet set = AdapterSet.create(config, wide.sites(), compute, 1);
                Trainer trainer = trainer(wide, set, compute, rows, task, 3, options)) {
            trainer.run(step -> losses[step.step() - 1] = step.loss(), checkpoint, 3);
        }
        try (AdapterSet set = AdapterSet.create(config, wide.sites(), compute, 1);
                Trainer trainer = trainer(wide, set, compute, rows, task, 3, options)) {
            trainer.resume(checkpoint);
            assertThat(trainer.stepsDone()).isEqualTo(3);
            trainer.run(step -> resumed[step.step() - 1] = step.loss());
        }
        assertThat(resumed[3]).isEqualTo(losses[3]);
        assertThat(resumed[4]).isEqualTo(losses[4]);
        try (AdapterSet set = AdapterSet.create(config, wide.sites(), compute, 1);
                Trainer trainer = trainer(wide, set, compute, rows, task, 2, options)) {
            assertThatThrownBy(() -> trainer.resume(checkpoint))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("rows of a step: expected 2, found 3");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"nf4", "fp4", "int8", "hqq"})
    void aQuantizedTransformerPredictsAsItsDecodedWeights(String method) {
        FluxModel quantized = quantized(method);
        FluxModel dense =
                quantized.withLinears(linear ->
                        linear.withWeight(new DenseWeight(DecodedWeight.of(compute, linear.weight(), arena))));
        FluxAdapter control = FluxAdapterFile.read(FluxFiles.path("control.safetensors"), base.config(), arena);
        TensorSource golden = FluxFiles.golden("dev-control.safetensors", arena);
        FluxInputs inputs = FluxFiles.inputs(golden, 0, arena);
        Matrix[] predictions = new Matrix[2];
        for (int i = 0; i < 2; i++) {
            FluxAdapters adapters = FluxAdapters.none(i == 0 ? quantized : dense).with(control, 0.85f);
            predictions[i] = Matrix.allocate(arena, 12, 16);
            new FluxPass(adapters.model(), adapters.layers(), compute).predict(inputs, predictions[i]);
        }
        assertThat(quantized.storageBytes()).isLessThan(base.storageBytes());
        assertThat(TestModels.relativeError(predictions[0].toArray(), predictions[1].toArray())).isLessThan(1e-4);
    }
}
