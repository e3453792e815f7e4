package io.vectune.models.train;

/// How the learning rate goes over the steps, as the functions get_*_schedule_with_warmup of transformers.
///
/// @param shape after the warm-up
/// @param warmupSteps steps over which the rate rises linearly from 0
/// @param totalSteps steps of the whole run
public record LearningRateSchedule(Shape shape, int warmupSteps, int totalSteps) {
    /// The course after the warm-up.
    public enum Shape {
        /// Stays.
        CONSTANT,
        /// Falls linearly to 0 at the end.
        LINEAR,
        /// Falls along half a cosine to 0 at the end.
        COSINE
    }

    public LearningRateSchedule {
        if (warmupSteps < 0 || totalSteps < 1) {
            throw new IllegalArgumentException(
                    "schedule: expected warmup >= 0 and steps >= 1, found warmup="
                            + warmupSteps
                            + ", steps="
                            + totalSteps);
        }
    }

    /// The factor of the learning rate in a step, 0 for the first one.
    public double factor(long step) {
        if (step < warmupSteps) {
            return step / (double) warmupSteps;
        }
        double span = Math.max(1, totalSteps - warmupSteps);
        return switch (shape) {
            case CONSTANT -> 1;
            case LINEAR -> Math.max(0, (totalSteps - step) / span);
            case COSINE -> Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (step - warmupSteps) / span)));
        };
    }
}
