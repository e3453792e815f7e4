package io.vectune.models.train;

/// What a run will do and need, known before it starts.
///
/// @param modules layers with an adapter
/// @param trainableParameters values that the optimizer changes
/// @param modelBytes weights as stored; mapped from the file
/// @param activationBytes activations kept for backward, and the temporaries of a step
/// @param optimizerBytes parameters, gradients and moments
/// @param tokensPerStep mean over the data
public record TrainingPlan(
        int modules,
        long trainableParameters,
        long modelBytes,
        long activationBytes,
        long optimizerBytes,
        double tokensPerStep,
        int steps) {
    /// Memory of the whole run.
    public long totalBytes() {
        return modelBytes + activationBytes + optimizerBytes;
    }
}
