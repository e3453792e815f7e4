package io.vectune.cli;

import io.vectune.models.train.LearningRateSchedule;
import io.vectune.models.train.OptimizerChoice;
import io.vectune.models.train.TrainerOptions;
import java.util.Locale;
import picocli.CommandLine.Option;

/// The options of the optimizer and of its learning rate.
final class OptimizerOptions {
    @Option(
            names = "--lr",
            paramLabel = "X",
            defaultValue = "2e-4",
            description = "Learning rate (default: ${DEFAULT-VALUE}).")
    private double learningRate;

    @Option(
            names = {"--lr-ratio", "--loraplus-lr-ratio"},
            paramLabel = "X",
            defaultValue = "1",
            description =
                    "LoRA+: rate of lora_B, magnitudes and biases over that of the rest (default: ${DEFAULT-VALUE}).")
    private double outputFactorRatio;

    @Option(
            names = "--optimizer",
            paramLabel = "adamw|sgd",
            defaultValue = "adamw",
            description = "Optimizer (default: ${DEFAULT-VALUE}).")
    @SuppressWarnings("NullAway.Init")
    private String optimizer;

    @Option(
            names = "--momentum",
            paramLabel = "X",
            defaultValue = "0",
            description = "Momentum of sgd (default: ${DEFAULT-VALUE}).")
    private double momentum;

    @Option(
            names = "--weight-decay",
            paramLabel = "X",
            defaultValue = "0",
            description = "Weight decay of every trainable tensor (default: ${DEFAULT-VALUE}).")
    private double weightDecay;

    @Option(names = "--no-decay-scales", description = "No weight decay on magnitudes, gates, angles and biases.")
    private boolean noDecayScales;

    @Option(
            names = "--schedule",
            paramLabel = "SHAPE",
            defaultValue = "constant",
            description = "constant, linear or cosine (default: ${DEFAULT-VALUE}).")
    @SuppressWarnings("NullAway.Init")
    private String schedule;

    @Option(
            names = "--warmup",
            paramLabel = "N",
            defaultValue = "0",
            description = "Steps of linear warm-up (default: ${DEFAULT-VALUE}).")
    private int warmup;

    @Option(
            names = "--clip",
            paramLabel = "X",
            defaultValue = "0",
            description = "Largest gradient norm; 0 = off (default: ${DEFAULT-VALUE}).")
    private double clip;

    /// The trainer's options.
    ///
    /// @throws UsageException if one has a value that it cannot have
    TrainerOptions of(int steps, boolean gradientCheckpointing, long seed) {
        if (!(outputFactorRatio > 0 && outputFactorRatio < Double.POSITIVE_INFINITY)) {
            throw new UsageException(
                    "--lr-ratio: expected a positive finite number, found "
                            + outputFactorRatio
                            + "; 1 is the same rate for all");
        }
        try {
            return new TrainerOptions(
                    learningRate,
                    optimizer(),
                    new LearningRateSchedule(shape(), warmup, steps),
                    clip,
                    gradientCheckpointing,
                    outputFactorRatio,
                    !noDecayScales,
                    seed);
        } catch (IllegalArgumentException wrong) {
            throw new UsageException(String.valueOf(wrong.getMessage()));
        }
    }

    private OptimizerChoice optimizer() {
        return switch (optimizer.toLowerCase(Locale.ROOT)) {
            case "adamw" -> OptimizerChoice.AdamW.withDefaults(weightDecay);
            case "sgd" -> new OptimizerChoice.Sgd(momentum, weightDecay);
            default -> throw new UsageException("--optimizer: expected adamw or sgd, found \"" + optimizer + "\"");
        };
    }

    private LearningRateSchedule.Shape shape() {
        return switch (schedule.toLowerCase(Locale.ROOT)) {
            case "constant" -> LearningRateSchedule.Shape.CONSTANT;
            case "linear" -> LearningRateSchedule.Shape.LINEAR;
            case "cosine" -> LearningRateSchedule.Shape.COSINE;
            default ->
                    throw new UsageException(
                            "--schedule: expected constant, linear or cosine, found \"" + schedule + "\"");
        };
    }
}
