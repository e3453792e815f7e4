package io.vectune.adapters;

/// What belongs to a call and not to an adapter.
///
/// @param training whether dropout is active
/// @param dropoutSeed seed of this call's dropout masks: the same seed gives the same masks in forward, in a recomputed
///   forward and in backward
/// @param steering the steering coefficient of each row, for kinds that have one
/// @param groups which rows use which adapter of a mixed batch
public record CallOptions(boolean training, long dropoutSeed, Steering steering, RowGroups groups) {
    /// Inference: no dropout.
    public static final CallOptions INFERENCE = new CallOptions(false, 0);

    /// A call without steering and without groups.
    public CallOptions(boolean training, long dropoutSeed) {
        this(training, dropoutSeed, Steering.ONE, RowGroups.NONE);
    }

    /// The same call, steered.
    public CallOptions withSteering(Steering coefficients) {
        return new CallOptions(training, dropoutSeed, coefficients, groups);
    }

    /// The same call over a mixed batch.
    public CallOptions withGroups(RowGroups rowGroups) {
        return new CallOptions(training, dropoutSeed, steering, rowGroups);
    }

    /// The options of a call over some of the rows, put together in their order.
    ///
    /// @param rows ascending
    /// @throws IndexOutOfBoundsException if groups or steering coefficients do not cover one of them
    public CallOptions select(int[] rows) {
        RowGroups selected = groups.runs().isEmpty() ? groups : groups.select(rows);
        return new CallOptions(training, dropoutSeed, steering.select(rows), selected);
    }

    /// The options of the rows `[from, to)` alone, which one adapter takes.
    CallOptions rows(int from, int to) {
        return steering.isUniform() && groups.runs().isEmpty()
                ? this
                : new CallOptions(training, dropoutSeed, steering.rows(from, to), RowGroups.NONE);
    }
}
