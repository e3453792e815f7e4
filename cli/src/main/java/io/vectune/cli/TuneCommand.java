package io.vectune.cli;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.models.data.DataSet;
import io.vectune.models.flux.FlowMatching;
import io.vectune.models.load.FluxLoader;
import io.vectune.models.load.ModelText;
import io.vectune.models.train.BatchPlan;
import io.vectune.models.train.CalibratedStart;
import io.vectune.models.train.StepLog;
import io.vectune.models.train.StepRecord;
import io.vectune.models.train.Trainer;
import io.vectune.models.train.TrainerOptions;
import io.vectune.models.train.TrainingListener;
import io.vectune.models.train.TrainingPlan;
import io.vectune.runtime.VectuneException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune tune`: trains an adapter on a data file and writes it as it can be loaded by PEFT.
@Command(
        name = "tune",
        description = {
            "Train an adapter on a frozen model, dense or quantized.",
            "For a Flux transformer --data is a .safetensors file with rows of precomputed latents: latents, control (for"
                    + " a Control LoRA), encoder_hidden_states, pooled_projections, img_ids, txt_ids."
        })
final class TuneCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ModelOption model;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private DataOptionsMixin data;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private QuantizeOnLoad quantize;

    @ArgGroup(multiplicity = "1")
    @SuppressWarnings("NullAway.Init")
    private Start start;

    private static final class Start {
        @Option(names = "--method", paramLabel = "KIND", description = "Kind of a new adapter: lora, dora, ...")
        private @Nullable String method;

        @Option(
                names = "--init-from",
                paramLabel = "ADAPTER",
                description = "Go on with this adapter and its configuration.")
        private @Nullable Path initFrom;
    }

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private AdapterOptions adapter;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private CalibrationOptions calibration;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private FluxTuneOptions flux;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OutputOptions out;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private StepOptions steps;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private OptimizerOptions optimizer;

    @Option(
            names = "--gradient-checkpointing",
            description = "Compute the layers again in backward instead of keeping them: less memory.")
    private boolean gradientCheckpointing;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "0",
            description = "Seed of start values, order of rows and dropout (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--log",
            paramLabel = "FILE",
            description = "Write one JSON object a step: step, loss, lr, tokens_per_second, ...")
    private @Nullable Path log;

    @Option(
            names = "--checkpoint-every",
            paramLabel = "N",
            defaultValue = "0",
            description = "Steps between checkpoints; 0 = none (default: ${DEFAULT-VALUE}).")
    private int checkpointEvery;

    @Option(names = "--resume", description = "Go on from the checkpoint in --out.")
    private boolean resume;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private ThreadsOption threads;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() {
        Output output = Output.of(spec);
        if (checkpointEvery < 0) {
            throw new UsageException("--checkpoint-every: expected at least 0, found " + checkpointEvery);
        }
        checkPlaces();
        if (FluxLoader.isOne(model.path())) {
            return tuneFlux(output);
        }
        requireNone(FluxTuneOptions.NAMES, "Flux transformers, and " + model.path() + " is none");
        TuneTarget target = TuneTarget.of(out.path(), start.initFrom);
        try (OutputLock _ = target.lock(resume, out.force());
                Host host = Host.open(model.path(), quantize.quantizer(), List.of(), threads.size())) {
            ModelText text = ModelText.of(model.path());
            DataSet rows = data.load(text, host.model(), output);
            BatchPlan batches = steps.batches(rows, seed);
            TrainerOptions options = options(rows.rows().size());
            try (AdapterSet set = adapters(host, text, output, options.schedule().totalSteps())) {
                TrainingPlan plan = Trainer.plan(host.model(), set, batches, options);
                TuningPlanView.print(output, model.path(), host.model(), set, plan);
                requireMemory(plan);
                TuningReport report;
                try (Trainer trainer = new Trainer(host.model(), set, host.compute(), batches, options)) {
                    report = train(output, trainer, set, options, target);
                }
                AdapterFiles.Format format = TuneTarget.format(start.initFrom);
                target.write(path -> AdapterFiles.write(set, path, format, true), report);
                print(output, report, target, plan.totalBytes());
            }
        }
        return 0;
    }

    /// Neither the adapter nor the log replaces an input, and the log no other file unless that is asked for.
    private void checkPlaces() {
        Inputs inputs = Inputs.of(model.path(), data.path(), start.initFrom);
        Inputs.of(calibration.files()).keepApart("--log", log);
        inputs.keepApart("--out", out.path());
        inputs.keepApart("--log", log);
        if (log != null && !resume && !out.force() && Files.isRegularFile(log)) {
            throw new UsageException("--log " + log + ": already exists; choose another or use --force to replace it");
        }
    }

    /// Refuses a run that cannot fit, before the system ends it in its middle.
    private static void requireMemory(TrainingPlan plan) {
        long machine = PhysicalMemory.bytes();
        long needed = plan.activationBytes() + plan.optimizerBytes();
        if (needed > machine) {
            throw new VectuneException(
                    String.format(
                            Locale.ROOT,
                            "the run needs %s of memory beside the model, the machine has %s; lower --rank, --batch-size"
                                    + " or --max-length, or use --gradient-checkpointing",
                            Progress.bytes(needed),
                            Progress.bytes(machine)));
        }
    }

    private int tuneFlux(Output output) {
        requireNone(FluxTuneOptions.OF_DECODERS, "decoders, and " + model.path() + " is a Flux transformer");
        int rowsOfAStep = steps.rows();
        TuneTarget target = TuneTarget.ofFlux(out.path());
        try (OutputLock _ = target.lock(resume, out.force());
                FluxHost host = new FluxHost(model.path(), quantize.quantizer(), List.of(), threads.size())) {
            FlowMatching task = flux.task(host.adapters().base().config(), seed);
            try (FluxTuning tuning = FluxTuning.open(host, data.path(), start.method, start.initFrom, adapter, seed)) {
                tuning.print(output);
                TrainerOptions options = options(tuning.rows());
                TuningReport report;
                try (Trainer trainer = tuning.trainer(task, rowsOfAStep, steps.shuffle(), options)) {
                    report = train(output, trainer, tuning.set(), options, target);
                }
                target.write(tuning::write, report);
                print(output, report, target, 0);
            }
        }
        return 0;
    }

    /// Refuses options that have no meaning for the model.
    private void requireNone(List<String> names, String owner) {
        for (String name : names) {
            if (spec.commandLine().getParseResult().hasMatchedOption(name)) {
                throw new UsageException(name + " belongs to " + owner);
            }
        }
    }

    private TrainerOptions options(int rows) {
        return optimizer.of(steps.total(rows), gradientCheckpointing, seed);
    }

    private AdapterSet adapters(Host host, ModelText text, Output output, int totalSteps) {
        Path initFrom = start.initFrom;
        if (initFrom != null) {
            adapter.requireNone("--init-from");
            calibration.requireNone("--init-from");
            return AdapterFiles.read(initFrom, host.model().sites(), host.compute());
        }
        CalibratedStart calibrated = calibration.start(host, text, data, output);
        int rows = calibrated.rows().size() + calibrated.opposites().size();
        try (@Nullable Progress progress = rows == 0 ? null : Progress.start(output.err(), "calibrate", rows, "rows")) {
            AdapterConfig config = adapter.config(String.valueOf(start.method), model.path(), totalSteps);
            adapter.requireMemory(config.select(host.model().sites(), false));
            return calibrated.create(
                    config,
                    host.model(),
                    host.compute(),
                    seed,
                    done -> {
                        if (progress != null) {
                            progress.at(done, "");
                        }
                    });
        } catch (VectuneException unfit) {
            // A new adapter comes from the options alone: what does not fit the model is one of them.
            throw new UsageException(String.valueOf(unfit.getMessage()));
        }
    }

    private TuningReport train(
            Output output, Trainer trainer, AdapterSet set, TrainerOptions options, TuneTarget target) {
        List<StepRecord> records = new ArrayList<>();
        int total = options.schedule().totalSteps();
        if (resume) {
            trainer.resume(target.checkpoint());
            output.note("resumed after step %d of %d", trainer.stepsDone(), total);
        } else {
            target.removeCheckpoint();
        }
        Path file = log;
        try (Progress progress = Progress.start(output.err(), "tune", total, "steps");
                @Nullable StepLog stepLog = file == null ? null : StepLog.open(file, trainer.stepsDone())) {
            TrainingListener listener =
                    record -> {
                        records.add(record);
                        if (stepLog != null) {
                            stepLog.stepped(record);
                        }
                        progress.at(
                                record.step(),
                                String.format(
                                        Locale.ROOT,
                                        "loss %.4f, %.0f tokens/s",
                                        record.loss(),
                                        record.tokensPerSecond()));
                    };
            trainer.run(listener, target.checkpoint(), checkpointEvery);
        }
        return TuningReport.of(model.path(), set, options, records);
    }

    /// @param plannedBytes memory that the plan named, or 0 where there was none
    private void print(Output output, TuningReport report, TuneTarget target, long plannedBytes) {
        if (json.isOn()) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("out", out.path().toString());
            object.putAll(report.summary());
            if (plannedBytes > 0) {
                object.put("planned_memory_bytes", plannedBytes);
            }
            JsonOutput.print(output.out(), object);
            return;
        }
        if (!report.losses().isEmpty()) {
            output.result("%s", new LossPlot(report.losses()).text(60, 10));
        }
        output.result(
                "loss %.4f -> %.4f in %d steps, %.0f tokens/s, %s; wrote %s (adapter) and %s",
                report.firstLoss(),
                report.lastLoss(),
                report.losses().size(),
                report.tokensPerSecond(),
                Progress.duration(report.seconds()),
                target.adapter(),
                target.report());
        output.result(
                "peak memory %s%s",
                Progress.bytes(report.peakMemoryBytes()),
                plannedBytes > 0 ? ", planned " + Progress.bytes(plannedBytes) + " and the Java runtime" : "");
    }
}
