package io.vectune.cli;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.flux.FlowMatching;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.FluxRow;
import io.vectune.models.flux.file.FluxAdapterWriter;
import io.vectune.models.flux.file.FluxRowsFile;
import io.vectune.models.train.FluxTrainer;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.StepRecord;
import io.vectune.models.train.TrainerOptions;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune flux tune`: trains a LoRA or a Control LoRA on rows of precomputed latents.
@Command(
        name = "tune",
        description = {
            "Train a LoRA on the flow-matching loss over precomputed latents; with a tensor \"control\" in the data, a",
            "Control LoRA whose input is as wide as latents and control together."
        })
final class FluxTuneCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Option(
            names = "--model",
            required = true,
            paramLabel = "DIR",
            description = "Transformer or pipeline directory of diffusers.")
    @SuppressWarnings("NullAway.Init")
    private Path model;

    @Option(
            names = "--data",
            required = true,
            paramLabel = "FILE",
            description =
                    "Safetensors file: latents, control, encoder_hidden_states, pooled_projections, img_ids, txt_ids.")
    @SuppressWarnings("NullAway.Init")
    private Path data;

    @Option(
            names = "--out",
            required = true,
            paramLabel = "FILE",
            description = "The .safetensors file to write, as diffusers loads it.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Option(names = "--rank", paramLabel = "R", defaultValue = "16", description = "Rank (default: ${DEFAULT-VALUE}).")
    private int rank;

    @Option(names = "--alpha", paramLabel = "A", description = "lora_alpha (default: the rank).")
    private @Nullable Integer alpha;

    @Option(
            names = "--targets",
            split = ",",
            paramLabel = "NAME",
            description = "Layers to adapt (default: all linear layers).")
    private @Nullable List<String> targets;

    @Option(
            names = "--steps",
            paramLabel = "N",
            defaultValue = "100",
            description = "Steps (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Option(
            names = "--batch-size",
            paramLabel = "N",
            defaultValue = "1",
            description = "Rows of a step (default: ${DEFAULT-VALUE}).")
    private int batchSize;

    @Option(
            names = "--lr",
            paramLabel = "X",
            defaultValue = "1e-4",
            description = "Learning rate (default: ${DEFAULT-VALUE}).")
    private double learningRate;

    @Option(
            names = "--clip",
            paramLabel = "X",
            defaultValue = "1",
            description = "Largest gradient norm; 0 = off (default: ${DEFAULT-VALUE}).")
    private double clip;

    @Option(
            names = "--guidance",
            paramLabel = "X",
            defaultValue = "3.5",
            description = "Guidance in training, for models that take it (default: ${DEFAULT-VALUE}).")
    private float guidance;

    @Option(
            names = "--sampling",
            paramLabel = "KIND",
            defaultValue = "uniform",
            description = "Noise levels: uniform or logit_normal (default: ${DEFAULT-VALUE}).")
    @SuppressWarnings("NullAway.Init")
    private FlowMatching.Sampling sampling;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "0",
            description = "Seed of start values and noise (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(
            names = "--threads",
            paramLabel = "N",
            defaultValue = "0",
            description = "Threads (default: one a physical core).")
    private int threads;

    @Option(names = "--force", description = "Replace the output file if it exists.")
    private boolean force;

    @Override
    public Integer call() {
        Output.checkFile(out, force);
        Output output = Output.of(spec);
        Object layers = targets == null ? "all-linear" : targets;
        AdapterConfig config =
                AdapterConfig.of(
                        "lora",
                        Map.of("r", rank, "lora_alpha", alpha == null ? rank : alpha, "target_modules", layers));
        try (FluxHost host = new FluxHost(model, List.of(), threads)) {
            FluxModel base = host.adapters().base();
            List<FluxRow> rows = FluxRowsFile.read(data, base.config(), host.arena());
            FluxModel widened = base.widened(rows.getFirst().inChannels());
            Float given = base.config().guidanceEmbeds() ? (Float) guidance : null;
            FlowMatching task = new FlowMatching(sampling, given, seed);
            TrainerOptions options =
                    TrainerOptions.of(learningRate, OptimizerChoice.AdamW.withDefaults(0), steps, seed).withClip(clip);
            try (AdapterSet set = AdapterSet.create(config, widened.sites(), host.compute(), seed);
                    FluxTrainer trainer =
                            new FluxTrainer(widened, set, host.compute(), rows, task, batchSize, options)) {
                output.note(
                        "%d layers, %d trainable parameters, %d rows",
                        set.adapters().size(), set.trainableElements(), rows.size());
                trainer.run(step -> print(output, step));
                FluxAdapterWriter.write(set, out);
            }
        }
        output.note("wrote %s", out);
        return 0;
    }

    private static void print(Output output, StepRecord step) {
        output.note(
                "step %d  loss %.5f  gradient norm %.3g  %.1f s",
                step.step(), step.loss(), step.gradientNorm(), step.seconds());
    }
}
