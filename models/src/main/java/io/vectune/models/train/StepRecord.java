package io.vectune.models.train;

/// What one step did.
///
/// @param step 1 for the first one
/// @param loss mean over all labelled tokens of the step, from before the parameters changed
/// @param learningRate that the step used
/// @param gradientNorm L2 norm of all gradients before clipping
/// @param tokens that went through the model
/// @param seconds that the step took
public record StepRecord(int step, double loss, double learningRate, double gradientNorm, int tokens, double seconds) {
    /// Tokens a second.
    public double tokensPerSecond() {
        return tokens / seconds;
    }
}
