package io.vectune.models.decoder;

import io.vectune.adapters.CallOptions;
import org.jspecify.annotations.Nullable;

/// What one pass through the model tells its adapters: nothing in inference, in training a dropout seed that depends on
/// the pass and the module alone, so that a recomputed forward draws the same masks.
///
/// @param inference the options of every call, or null in training
/// @param seed the seed of the pass in training: different for each step and micro-batch
record CallSeed(@Nullable CallOptions inference, long seed) {
    private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;

    static final CallSeed INFERENCE = new CallSeed(CallOptions.INFERENCE, 0);

    static CallSeed training(long seed) {
        return new CallSeed(null, seed);
    }

    /// The seed of one slice of the tokens, where a layer is called once a slice.
    CallSeed slice(int index) {
        return inference != null ? this : new CallSeed(null, mix(seed + index));
    }

    CallOptions options(String module) {
        return inference != null
                ? inference
                : new CallOptions(true, mix(seed + GOLDEN_GAMMA * (1L + module.hashCode())));
    }

    /// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    static long mix(long value) {
        long z = value;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
}
