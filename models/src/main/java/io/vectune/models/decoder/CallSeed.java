package io.vectune.models.decoder;

import io.vectune.adapters.CallOptions;
import io.vectune.adapters.RowGroups;

/// What one pass through the model tells its adapters: which rows use which adapter, how they are steered, and in
/// training a dropout seed that depends on the pass and the module alone, so that a recomputed forward draws the same
/// masks.
///
/// @param options of every call, dropout aside
/// @param seed the seed of the pass in training: different for each step and micro-batch
record CallSeed(CallOptions options, boolean training, long seed) {
    private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;

    static final CallSeed INFERENCE = inference(CallOptions.INFERENCE);

    static CallSeed inference(CallOptions options) {
        return new CallSeed(options, false, 0);
    }

    static CallSeed training(CallOptions options, long seed) {
        return new CallSeed(options, true, seed);
    }

    /// The seed of one slice of the tokens, where a layer is called once a slice.
    CallSeed slice(int index) {
        return training ? new CallSeed(options, true, mix(seed + index)) : this;
    }

    /// Whether rows differ in adapter or steering, so that a call must see the rows that its options are for.
    boolean hasRowOptions() {
        return !options.groups().equals(RowGroups.NONE) || !options.steering().isUniform();
    }

    /// The seed of some of the rows, put together in their order.
    CallSeed select(int[] rows) {
        return hasRowOptions() ? new CallSeed(options.select(rows), training, seed) : this;
    }

    CallOptions options(String module) {
        if (!training) {
            return options;
        }
        long own = mix(seed + GOLDEN_GAMMA * (1L + module.hashCode()));
        return new CallOptions(true, own, options.steering(), options.groups());
    }

    /// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    static long mix(long value) {
        long z = value;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
}
