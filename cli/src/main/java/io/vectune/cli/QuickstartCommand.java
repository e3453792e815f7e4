package io.vectune.cli;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.file.PeftDirectory;
import io.vectune.models.data.DataOptions;
import io.vectune.models.data.DataSet;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.eval.Evaluation;
import io.vectune.models.generate.GenerationOptions;
import io.vectune.models.generate.TextGeneration;
import io.vectune.models.load.ModelText;
import io.vectune.models.train.BatchPlan;
import io.vectune.models.train.LearningRateSchedule;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.StepRecord;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.models.train.TrainingPlan;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.file.OutputDirectory;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune quickstart`: the whole main job on the embedded tiny model.
///
/// The task: `Mirror: Mia gave the dirty bell to Lily. =` is answered by ` Lily gave the clean bell to Mia.`, a form
/// that the base model has never seen.
@Command(
        name = "quickstart",
        description = "Quantize the embedded tiny model, tune DoRA on it, measure, save and generate; under a minute.")
final class QuickstartCommand implements Callable<Integer> {
    private static final List<String> FILES =
            List.of(
                    "config.json",
                    "generation_config.json",
                    "model.safetensors",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "task/train.jsonl",
                    "task/test.jsonl");
    private static final int STEPS = 200;
    private static final int BATCH_ROWS = 16;
    private static final double LEARNING_RATE = 5e-3;
    private static final int WARMUP = 10;

    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(
            names = "--out",
            paramLabel = "DIR",
            defaultValue = "vectune-quickstart",
            description = "Where model, data and adapter go (default: ${DEFAULT-VALUE}); made anew each time.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ThreadsOption threads;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        long start = System.nanoTime();
        Output output = Output.of(spec);
        KernelTier.Choice tier = KernelTier.choice();
        output.note("kernels    %s: %s", tier.tier().name().toLowerCase(Locale.ROOT), tier.reason());
        Path model = unpack();
        try (Host host = Host.open(model, QuantizeOnLoad.parse("hqq4"), List.of(), threads.size())) {
            run(output, host, model, start);
        }
        return 0;
    }

    private void run(Output output, Host host, Path model, long start) {
        DecoderModel quantized = host.model();
        output.note(
                "model      %,d parameters, %s as bf16; linear layers quantized to %s: %s",
                quantized.parameters(),
                Progress.bytes(host.loaded().decoder().storageBytes()),
                quantized.layers().getFirst().linears().getFirst().weight().description(),
                Progress.bytes(quantized.storageBytes()));
        ModelText text = ModelText.of(model);
        DataOptions options = new DataOptions(64, false, quantized.config().vocabSize());
        DataSet train = DataSet.load(model.resolve("task/train.jsonl"), text, options);
        DataSet test = DataSet.load(model.resolve("task/test.jsonl"), text, options);

        Evaluation before = evaluate(host, Map.of(), test);
        output.note(
                "before     %.0f %% of %d held-out rows exactly right, loss %.3f",
                100 * before.exactMatch(), before.rows(), before.loss());
        Map<String, Object> config = new LinkedHashMap<>();
        config.put("r", 8);
        config.put("lora_alpha", 16);
        config.put("target_modules", "all-linear");
        config.put("base_model_name_or_path", model.toString());
        Path adapter = out.resolve("adapter");
        try (AdapterSet set =
                AdapterSet.create(AdapterConfig.of("dora", config), quantized.sites(), host.compute(), 0)) {
            List<StepRecord> records = tune(output, host, model, set, train);
            PeftDirectory.write(set, adapter, true);
            TuningReport report = TuningReport.of(model, set, trainerOptions(), records);
            report.write(adapter.resolve(TuningReport.FILE));
            Evaluation after = evaluate(host, set.adapters(), test);
            String prompt = "Mirror: Mia gave the dirty bell to Lily. =";
            String without = generate(host, Map.of(), text, prompt);
            String with = generate(host, set.adapters(), text, prompt);
            double seconds = (System.nanoTime() - start) * 1e-9;
            if (json.isOn()) {
                JsonOutput.print(output.out(), figures(before, after, report, seconds));
            } else {
                print(output, before, after, report, seconds);
                output.result("");
                output.result("prompt     %s", prompt);
                output.result("without   %s", without);
                output.result("with      %s", with);
                output.result("");
                printNext(output, model, adapter);
            }
            if (!(after.exactMatch() > before.exactMatch())) {
                throw new VectuneException(
                        "quickstart: expected the tuned model to answer more rows exactly than the base, found "
                                + after.exactRows()
                                + " after and "
                                + before.exactRows()
                                + " before; see "
                                + adapter);
            }
        }
    }

    private static TrainerOptions trainerOptions() {
        return TrainerOptions.of(LEARNING_RATE, OptimizerChoice.AdamW.withDefaults(0), STEPS, 0)
                .withSchedule(new LearningRateSchedule(LearningRateSchedule.Shape.LINEAR, WARMUP, STEPS));
    }

    private static List<StepRecord> tune(Output output, Host host, Path model, AdapterSet set, DataSet train) {
        BatchPlan batches = new BatchPlan(train.rows(), BATCH_ROWS, 1, true, 0);
        TrainerOptions options = trainerOptions();
        TrainingPlan plan = Trainer.plan(host.model(), set, batches, options);
        TuningPlanView.print(output, model, host.model(), set, plan);
        List<StepRecord> records = new ArrayList<>();
        try (Trainer trainer = new Trainer(host.model(), set, host.compute(), batches, options);
                Progress progress = Progress.start(output.err(), "tune", STEPS, "steps")) {
            trainer.run(record -> {
                records.add(record);
                progress.at(record.step(), String.format(Locale.ROOT, "loss %.4f", record.loss()));
            });
        }
        return records;
    }

    private static Evaluation evaluate(Host host, Map<String, Adapter> adapters, DataSet rows) {
        return Evaluation.of(host.model(), adapters, host.compute(), rows.rows(), done -> {});
    }

    private static String generate(Host host, Map<String, Adapter> adapters, ModelText text, String prompt) {
        int[] ids = text.tokenizer().encode(prompt, true);
        GenerationOptions options = GenerationOptions.greedy(16, host.loaded().generation().endTokens());
        try (DecoderSession session =
                new DecoderSession(host.model(), adapters, host.compute(), ids.length + options.maxTokens())) {
            int[] tokens =
                    TextGeneration.run(session, ids, options, token -> true).tokens().stream()
                            .mapToInt(Integer::intValue)
                            .toArray();
            return text.tokenizer().decode(tokens, true);
        }
    }

    private Map<String, Object> figures(Evaluation before, Evaluation after, TuningReport report, double seconds) {
        Map<String, Object> object = new LinkedHashMap<>();
        object.put("exact_match_before", before.exactMatch());
        object.put("exact_match_after", after.exactMatch());
        object.put("loss_before", before.loss());
        object.put("loss_after", after.loss());
        object.put("adapter", out.resolve("adapter").toString());
        object.putAll(report.summary());
        object.put("total_seconds", seconds);
        object.put("peak_memory_bytes", PeakMemory.bytes());
        return object;
    }

    private void print(Output output, Evaluation before, Evaluation after, TuningReport report, double seconds) {
        output.result("%s", new LossPlot(report.losses()).text(60, 8));
        output.result(
                "exact match on held-out rows: %.0f %% -> %.0f %%   (loss %.3f -> %.3f)",
                100 * before.exactMatch(), 100 * after.exactMatch(), before.loss(), after.loss());
        output.result(
                "%d steps, %.0f tokens/s on average, %.0f tokens/s at the end; %s in all; peak memory %s",
                report.losses().size(),
                report.tokensPerSecond(),
                report.tokensPerSecondAtEnd(),
                Progress.duration(seconds),
                Progress.bytes(PeakMemory.bytes()));
        output.result("adapter    %s (PEFT), report %s", out.resolve("adapter"), out.resolve("adapter/report.html"));
    }

    private static void printNext(Output output, Path model, Path adapter) {
        output.result("Next:");
        output.result(
                "  ./vectune generate --model %s --adapter %s --prompt \"Mirror: Tom gave the old lamp to Mia. =\"",
                model, adapter);
        output.result(
                "  ./vectune eval --model %s --adapter %s --quantize hqq4 --data %s",
                model, adapter, model.resolve("task/test.jsonl"));
        output.result("  ./vectune merge --model %s --adapter %s --out merged", model, adapter);
        output.result("  ./vectune doctor          what this machine can do");
        output.result("  ./vectune tune --help     your own model and data");
    }

    /// Puts model and data beside the adapter, so that the next commands have files to work on.
    private Path unpack() {
        Path model = out.resolve("tiny-llama");
        if (Files.exists(out) && !Files.exists(model.resolve("task"))) {
            OutputDirectory.check(out, false);
        }
        try (OutputDirectory directory = OutputDirectory.create(model, true)) {
            for (String file : FILES) {
                Path target = directory.path().resolve(file);
                Files.createDirectories(target.getParent());
                try (InputStream in = QuickstartCommand.class.getResourceAsStream("tiny-llama/" + file)) {
                    if (in == null) {
                        throw new IllegalStateException("tiny-llama/" + file + " is not in the jar");
                    }
                    Files.copy(in, target);
                }
            }
            directory.commit();
        } catch (IOException failure) {
            throw FileFailure.writing(model, failure);
        }
        return model;
    }
}
