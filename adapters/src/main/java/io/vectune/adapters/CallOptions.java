package io.vectune.adapters;

/// What belongs to a call and not to an adapter.
///
/// @param training whether dropout is active
/// @param dropoutSeed seed of this call's dropout masks: the same seed gives the same masks in forward, in a recomputed
///   forward and in backward
public record CallOptions(boolean training, long dropoutSeed) {
    /// Inference: no dropout.
    public static final CallOptions INFERENCE = new CallOptions(false, 0);
}
