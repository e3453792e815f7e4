package io.vectune.models.train;

/// How to train.
///
/// @param learningRate before the schedule
/// @param clip largest L2 norm of all gradients together; 0 for no clipping
/// @param gradientCheckpointing keeps only the inputs of the layers and computes the layers again in backward
/// @param outputFactorRatio learning rate of output factors (lora_B) and vectors (magnitudes, biases) over that of all
///   others: LoRA+ (Hayou et al. 2024, arXiv 2402.12354) with PEFT's groups; 1 for none
/// @param decayScales whether weight decay also acts on magnitudes, gates and biases; on biases not with LoRA+
/// @param seed of the dropout masks
public record TrainerOptions(
        double learningRate,
        OptimizerChoice optimizer,
        LearningRateSchedule schedule,
        double clip,
        boolean gradientCheckpointing,
        double outputFactorRatio,
        boolean decayScales,
        long seed) {
    public TrainerOptions {
        if (!(learningRate >= 0) || !Double.isFinite(learningRate)) {
            throw new IllegalArgumentException(
                    "learning rate: expected a finite number of at least 0, found " + learningRate);
        }
        if (!(clip >= 0)) {
            throw new IllegalArgumentException("clip: expected at least 0 (0 = off), found " + clip);
        }
        if (!(outputFactorRatio > 0)) {
            throw new IllegalArgumentException(
                    "learning rate ratio of output factors: expected a positive number, found " + outputFactorRatio);
        }
    }

    /// A constant learning rate and torch's defaults: no decay, no clipping.
    public static TrainerOptions of(double learningRate, OptimizerChoice optimizer, int steps, long seed) {
        LearningRateSchedule schedule = new LearningRateSchedule(LearningRateSchedule.Shape.CONSTANT, 0, steps);
        return new TrainerOptions(learningRate, optimizer, schedule, 0, false, 1, true, seed);
    }

    /// The same with another schedule.
    public TrainerOptions withSchedule(LearningRateSchedule newSchedule) {
        return new TrainerOptions(
                learningRate,
                optimizer,
                newSchedule,
                clip,
                gradientCheckpointing,
                outputFactorRatio,
                decayScales,
                seed);
    }

    /// The same with another clipping norm.
    public TrainerOptions withClip(double newClip) {
        return new TrainerOptions(
                learningRate,
                optimizer,
                schedule,
                newClip,
                gradientCheckpointing,
                outputFactorRatio,
                decayScales,
                seed);
    }

    /// The same with gradient checkpointing or without.
    public TrainerOptions withGradientCheckpointing(boolean on) {
        return new TrainerOptions(learningRate, optimizer, schedule, clip, on, outputFactorRatio, decayScales, seed);
    }
}
