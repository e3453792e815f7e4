package io.vectune.models.eval;

/// How much the inputs and outputs of a linear layer weigh on calibration data.
///
/// @param inputs mean square of each input, [inFeatures]
/// @param outputGradients mean square of the gradient of a token's loss at each output, [outFeatures]; empty if no
///   gradients were asked for
@SuppressWarnings("ArrayRecordComponent") // a result that nobody compares
public record LayerMoments(double[] inputs, double[] outputGradients) {}
