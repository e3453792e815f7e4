package io.vectune.models.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.TestModels;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.PassLimits;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// What holds for every run: the same bits whatever the threads, checkpoints and interruptions; right gradients.
class TrainerTest {
    private static final int STEPS = 4;
    private static final List<String> ALL_LINEARS =
            List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj");

    private final Arena arena = Arena.ofShared();

    @AfterEach
    void close() {
        arena.close();
    }

    @ParameterizedTest
    @CsvSource({"lora,llama", "dora,qwen3", "lora,llama-bias"})
    void givesTheSameBitsHoweverItRuns(String kind, String name) {
        DecoderModel model = TestModels.load(name, arena);
        List<Integer> alone = train(model, kind, 1, false, 2);
        assertThat(train(model, kind, 2, false, 2)).as("2 threads").isEqualTo(alone);
        assertThat(train(model, kind, 3, false, 2)).as("3 threads").isEqualTo(alone);
        assertThat(train(model, kind, 2, true, 2)).as("checkpointing").isEqualTo(alone);
        assertThat(train(model, kind, 2, true, 3)).as("another seed").isNotEqualTo(alone);
    }

    @Test
    void accumulatesToTheSameMeanAsOneBatch() {
        DecoderModel model = TestModels.load("llama", arena);
        List<TokenRow> rows = rows(model, 6);
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team);
                AdapterSet whole = adapters(model, "lora", 0, compute);
                AdapterSet parts = adapters(model, "lora", 0, compute);
                Trainer one = new Trainer(model, whole, compute, new BatchPlan(rows, 6, 1, false, 0), options(1));
                Trainer three = new Trainer(model, parts, compute, new BatchPlan(rows, 2, 3, false, 0), options(1))) {
            StepRecord large = one.step();
            StepRecord small = three.step();
            assertThat(Math.abs(large.loss() - small.loss()) / large.loss()).isLessThanOrEqualTo(1e-6);
            assertThat(Math.abs(large.gradientNorm() - small.gradientNorm()) / large.gradientNorm())
                    .isLessThanOrEqualTo(1e-5);
            assertThat(small.tokens()).isEqualTo(large.tokens());
        }
    }

    @Test
    void resumesToTheSameBits(@TempDir Path directory) {
        DecoderModel model = TestModels.load("llama", arena);
        Path file = directory.resolve("state.safetensors");
        List<TokenRow> rows = rows(model, 5);
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team);
                AdapterSet through = adapters(model, "dora", 0.1, compute);
                AdapterSet interrupted = adapters(model, "dora", 0.1, compute);
                AdapterSet resumed = adapters(model, "dora", 0.1, compute)) {
            try (Trainer trainer = trainer(model, through, compute, rows, false, 2)) {
                trainer.run(step -> {});
            }
            try (Trainer trainer = trainer(model, interrupted, compute, rows, false, 2)) {
                trainer.step();
                trainer.step();
                trainer.save(file);
                trainer.step();
            }
            List<Integer> steps = new ArrayList<>();
            try (Trainer trainer = trainer(model, resumed, compute, rows, false, 2)) {
                trainer.resume(file);
                assertThat(trainer.stepsDone()).isEqualTo(2);
                trainer.run(step -> steps.add(step.step()));
            }
            assertThat(steps).containsExactly(3, 4);
            assertThat(values(resumed)).isEqualTo(values(through));
            try (Trainer other = trainer(model, resumed, compute, rows, false, 7)) {
                assertThatThrownBy(() -> other.resume(file))
                        .isInstanceOf(VectuneException.class)
                        .hasMessageContaining("other settings")
                        .hasMessageContaining("seed: expected 7, found 2; resume");
            }
        }
    }

    @Test
    void resumesAdaLoraWithItsScores(@TempDir Path directory) {
        DecoderModel model = TestModels.load("llama", arena);
        Path file = directory.resolve("state.safetensors");
        List<TokenRow> rows = rows(model, 5);
        AdapterConfig config =
                AdapterConfig.of(
                        "adalora",
                        Map.of("init_r", 4, "target_r", 1, "total_step", STEPS, "target_modules", ALL_LINEARS));
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team);
                AdapterSet through = AdapterSet.create(config, model.sites(), compute, 1);
                AdapterSet resumed = AdapterSet.create(config, model.sites(), compute, 1)) {
            try (Trainer trainer = trainer(model, through, compute, rows, false, 2)) {
                trainer.step();
                trainer.step();
                trainer.save(file);
                trainer.run(step -> {});
            }
            try (Trainer trainer = trainer(model, resumed, compute, rows, false, 2)) {
                trainer.resume(file);
                trainer.run(step -> {});
            }
            assertThat(values(resumed)).isEqualTo(values(through));
            long kept = 0;
            for (AdapterSet.Entry entry : through.parameters()) {
                if (entry.parameter().name().equals("loraE")) {
                    for (float value : entry.parameter().values().toArray()) {
                        kept += value == 0 ? 0 : 1;
                    }
                }
            }
            // After the last of four steps the budget is (4 - 1) (1/4)^3 + 1 a layer.
            int layers = through.adapters().size();
            assertThat(kept).isBetween(1L, (long) (layers * (1 + 3.0 / 64)));
        }
    }

    @Test
    void learnsAndDecaysByKindOfParameter() {
        DecoderModel model = TestModels.load("llama", arena);
        List<TokenRow> rows = rows(model, 4);
        BatchPlan batches = new BatchPlan(rows, 4, 1, false, 0);
        LearningRateSchedule constant = new LearningRateSchedule(LearningRateSchedule.Shape.CONSTANT, 0, 1);
        OptimizerChoice plain = new OptimizerChoice.Sgd(0, 0);
        OptimizerChoice decaying = new OptimizerChoice.Sgd(0, 0.5);
        Map<String, float[]> start = step(model, batches, new TrainerOptions(0, plain, constant, 0, false, 1, true, 0));
        Map<String, float[]> one = step(model, batches, new TrainerOptions(0.1, plain, constant, 0, false, 1, true, 0));
        Map<String, float[]> plus =
                step(model, batches, new TrainerOptions(0.1, plain, constant, 0, false, 16, true, 0));
        Map<String, float[]> decayed =
                step(model, batches, new TrainerOptions(0.1, decaying, constant, 0, false, 1, false, 0));
        start.forEach((name, values) -> {
            boolean isB = name.endsWith("loraB");
            boolean isScale = name.endsWith("magnitude");
            for (int i = 0; i < values.length; i++) {
                float moved = Objects.requireNonNull(one.get(name))[i] - values[i];
                assertThat(Objects.requireNonNull(plus.get(name))[i])
                        .isCloseTo(values[i] + (isB || isScale ? 16 : 1) * moved, within(1e-5f));
                float shrunk = isScale ? 0 : 0.1f * 0.5f * values[i];
                assertThat(Objects.requireNonNull(decayed.get(name))[i])
                        .isCloseTo(values[i] + moved - shrunk, within(1e-6f));
            }
        });
    }

    private static Map<String, float[]> step(DecoderModel model, BatchPlan batches, TrainerOptions options) {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team);
                AdapterSet set = adapters(model, "dora", 0, compute);
                Trainer trainer = new Trainer(model, set, compute, batches, options)) {
            trainer.step();
            Map<String, float[]> values = new LinkedHashMap<>();
            set.parameters().forEach(entry -> values.put(entry.name(), entry.parameter().values().toArray()));
            return values;
        }
    }

    @Test
    void resumesNothingWithOtherDataOrGroups(@TempDir Path directory) {
        DecoderModel model = TestModels.load("llama", arena);
        Path file = directory.resolve("state.safetensors");
        TrainerOptions same = options(STEPS);
        TrainerOptions ratio =
                new TrainerOptions(
                        same.learningRate(),
                        same.optimizer(),
                        same.schedule(),
                        same.clip(),
                        false,
                        4,
                        true,
                        same.seed());
        TrainerOptions decay =
                new TrainerOptions(
                        same.learningRate(),
                        same.optimizer(),
                        same.schedule(),
                        same.clip(),
                        false,
                        1,
                        false,
                        same.seed());
        List<TokenRow> rows = rows(model, 5);
        List<TokenRow> others = new ArrayList<>(rows);
        others.set(2, TokenRow.ofText(5, 6, 7));
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team);
                AdapterSet set = adapters(model, "lora", 0, compute)) {
            try (Trainer trainer = new Trainer(model, set, compute, new BatchPlan(rows, 2, 1, false, 0), same)) {
                trainer.step();
                trainer.save(file);
            }
            assertRefused(
                    file,
                    "LoRA+ ratio: expected 4.0, found 1.0;",
                    model,
                    set,
                    compute,
                    new BatchPlan(rows, 2, 1, false, 0),
                    ratio);
            assertRefused(
                    file,
                    "weight decay: expected of factors, found of all;",
                    model,
                    set,
                    compute,
                    new BatchPlan(rows, 2, 1, false, 0),
                    decay);
            assertRefused(file, "data: expected", model, set, compute, new BatchPlan(others, 2, 1, false, 0), same);
            assertRefused(
                    file,
                    "order: expected 5 rows shuffled with seed 0, found 5 rows in order;",
                    model,
                    set,
                    compute,
                    new BatchPlan(rows, 2, 1, true, 0),
                    same);
        }
    }

    private static void assertRefused(
            Path file,
            String part,
            DecoderModel model,
            AdapterSet set,
            Compute compute,
            BatchPlan batches,
            TrainerOptions options) {
        try (Trainer trainer = new Trainer(model, set, compute, batches, options)) {
            assertThatThrownBy(() -> trainer.resume(file))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining("other settings")
                    .hasMessageContaining(part);
        }
    }

    @Test
    void trainsTwoAdaptersOnOneModelAtTheSameTimeAsIfAlone() throws Exception {
        DecoderModel model = TestModels.load("llama", arena);
        List<Integer> lora = train(model, "lora", 2, false, 2);
        List<Integer> dora = train(model, "dora", 2, false, 2);
        try (ThreadTeam team = ThreadTeam.of(2);
                ExecutorService threads = Executors.newFixedThreadPool(2)) {
            Callable<List<Integer>> first = () -> train(model, "lora", team, false, 2);
            Callable<List<Integer>> second = () -> train(model, "dora", team, false, 2);
            List<Future<List<Integer>>> results = threads.invokeAll(List.of(first, second));
            assertThat(results.get(0).get()).isEqualTo(lora);
            assertThat(results.get(1).get()).isEqualTo(dora);
        }
    }

    /// Directional derivatives of the loss by central differences, against the gradients: over all parameters of all
    /// layers, for several random directions. (DoRA's gradient is not that of its loss: it takes the norm as constant.)
    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen3", "qwen2", "llama-bias", "llama-untied"})
    void agreesWithFiniteDifferences(String name) {
        DecoderModel model = TestModels.load(name, arena);
        List<TokenRow> rows = rows(model, 3);
        SequenceBatch batch =
                SequenceBatch.of(
                        rows.stream().map(TokenRow::ids).toList(), rows.stream().map(TokenRow::labels).toList());
        PassLimits limits = new PassLimits(batch.tokens(), batch.longestRow());
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team);
                AdapterSet set = adapters(model, "lora", 0, compute);
                AdapterGradients gradients = new AdapterGradients(set.adapters());
                DecoderPass pass = DecoderPass.forTraining(model, set.adapters(), compute, limits, false)) {
            perturb(set, 1, 0.02f, 5);
            set.refresh(compute);
            pass.lossAndGradients(batch, 1.0 / batch.labelledTokens(), 0, gradients);
            for (int direction = 0; direction < 3; direction++) {
                float step = 2e-3f;
                double slope = slope(set, gradients, 11 + direction);
                perturb(set, 1, step, 11 + direction);
                set.refresh(compute);
                double above = pass.loss(batch) / batch.labelledTokens();
                perturb(set, -2, step, 11 + direction);
                set.refresh(compute);
                double below = pass.loss(batch) / batch.labelledTokens();
                perturb(set, 1, step, 11 + direction);
                // f32 losses of about 6 carry errors near 1e-6; over 2 steps of 2e-3 that is 5e-4 of a slope of 1.
                double measured = (above - below) / (2 * step);
                assertThat(Math.abs(measured - slope)).isLessThanOrEqualTo(2e-3 * (1 + Math.abs(slope)));
            }
        }
    }

    @Test
    void logsEveryStepAndDropsWhatIsDoneAgain(@TempDir Path directory) throws IOException {
        Path file = directory.resolve("log.jsonl");
        try (StepLog log = StepLog.open(file, 0)) {
            for (int step = 1; step <= 3; step++) {
                log.stepped(new StepRecord(step, 2.5, 1e-3, 0.5, 100, 0.25));
            }
        }
        try (StepLog log = StepLog.open(file, 2)) {
            log.stepped(new StepRecord(3, 1.5, 1e-3, 0.5, 100, 0.25));
        }
        List<String> lines = Files.readAllLines(file);
        assertThat(lines).hasSize(3);
        assertThat(lines.get(2)).contains("\"step\":3", "\"loss\":1.5", "\"tokens_per_second\":400.0");
    }

    @ParameterizedTest
    @CsvSource({
        "CONSTANT,0,10,0,1",
        "CONSTANT,4,10,0,0",
        "CONSTANT,4,10,2,0.5",
        "CONSTANT,4,10,9,1",
        "LINEAR,0,10,0,1",
        "LINEAR,2,10,6,0.5",
        "LINEAR,2,10,10,0",
        "COSINE,0,10,5,0.5",
        "COSINE,2,10,4,0.853553390593",
        "COSINE,2,10,10,0"
    })
    void schedulesAsTransformers(LearningRateSchedule.Shape shape, int warmup, int total, int step, double factor) {
        assertThat(Math.abs(new LearningRateSchedule(shape, warmup, total).factor(step) - factor))
                .isLessThanOrEqualTo(1e-11);
    }

    @Test
    void followsTheFileAndWrapsAroundOrPermutesEachEpoch() {
        List<TokenRow> rows = new ArrayList<>();
        for (int row = 0; row < 5; row++) {
            rows.add(TokenRow.ofText(row, row, row));
        }
        BatchPlan inOrder = new BatchPlan(rows, 2, 1, false, 0);
        assertThat(inOrder.step(2).getFirst().tokens()).isEqualTo(6);
        BatchPlan shuffled = new BatchPlan(rows, 5, 1, true, 3);
        BatchPlan again = new BatchPlan(rows, 5, 1, true, 3);
        again.step(7);
        assertThat(shuffled.limits()).isEqualTo(new PassLimits(15, 3));
        assertThat(shuffled.step(1).getFirst().tokens()).isEqualTo(again.step(1).getFirst().tokens());
        assertThatThrownBy(() -> new BatchPlan(List.of(new TokenRow(new int[] {1}, new int[] {1})), 1, 1, false, 0))
                .hasMessageContaining("labelled");
    }

    private List<Integer> train(DecoderModel model, String kind, int threads, boolean checkpointing, long seed) {
        try (ThreadTeam team = ThreadTeam.of(threads)) {
            return train(model, kind, team, checkpointing, seed);
        }
    }

    private static List<Integer> train(
            DecoderModel model, String kind, ThreadTeam team, boolean checkpointing, long seed) {
        try (Compute compute = new Compute(team);
                AdapterSet set = adapters(model, kind, 0.1, compute);
                Trainer trainer = trainer(model, set, compute, rows(model, 5), checkpointing, seed)) {
            trainer.run(step -> {});
            return values(set);
        }
    }

    private static Trainer trainer(
            DecoderModel model,
            AdapterSet set,
            Compute compute,
            List<TokenRow> rows,
            boolean checkpointing,
            long seed) {
        TrainerOptions options =
                TrainerOptions.of(1e-2, OptimizerChoice.AdamW.withDefaults(0.01), STEPS, seed)
                        .withClip(1)
                        .withGradientCheckpointing(checkpointing);
        return new Trainer(model, set, compute, new BatchPlan(rows, 2, 1, true, seed), options);
    }

    private static TrainerOptions options(int steps) {
        return TrainerOptions.of(1e-2, OptimizerChoice.AdamW.withDefaults(0), steps, 0);
    }

    private static AdapterSet adapters(DecoderModel model, String kind, double dropout, Compute compute) {
        AdapterConfig config =
                AdapterConfig.of(
                        kind, Map.of("r", 4, "lora_alpha", 8, "lora_dropout", dropout, "target_modules", ALL_LINEARS));
        return AdapterSet.create(config, model.sites(), compute, 1);
    }

    private static List<TokenRow> rows(DecoderModel model, int count) {
        SplittableRandom random = new SplittableRandom(9);
        List<TokenRow> rows = new ArrayList<>();
        for (int row = 0; row < count; row++) {
            int[] ids = random.ints(7 + row % 3 * 5, 3, model.config().vocabSize()).toArray();
            int[] labels = ids.clone();
            Arrays.fill(labels, 0, 3, -100);
            rows.add(new TokenRow(ids, labels));
        }
        return rows;
    }

    /// A digest of the bits of each parameter.
    private static List<Integer> values(AdapterSet set) {
        return set.parameters().stream().map(entry -> Arrays.hashCode(entry.parameter().values().toArray())).toList();
    }

    private static void perturb(AdapterSet set, float factor, float step, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        for (AdapterSet.Entry entry : set.parameters()) {
            AdapterParameter parameter = entry.parameter();
            Matrix values = parameter.values();
            for (int row = 0; row < values.rows(); row++) {
                for (int column = 0; column < values.columns(); column++) {
                    float direction = (float) random.nextDouble(-1, 1);
                    values.set(row, column, values.get(row, column) + factor * step * direction);
                }
            }
        }
    }

    private static double slope(AdapterSet set, AdapterGradients gradients, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        double slope = 0;
        for (AdapterSet.Entry entry : set.parameters()) {
            Matrix gradient = gradients.of(entry.module()).get(entry.gradientIndex());
            for (int row = 0; row < gradient.rows(); row++) {
                for (int column = 0; column < gradient.columns(); column++) {
                    slope += gradient.get(row, column) * (float) random.nextDouble(-1, 1);
                }
            }
        }
        return slope;
    }
}
