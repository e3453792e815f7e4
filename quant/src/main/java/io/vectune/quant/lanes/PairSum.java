package io.vectune.quant.lanes;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;

/// What the sums over the lanes of two rows need, with 16 lanes: the tree of [Lanes#sum] for both at once, the first
/// row in the low lanes, the second in the high lanes.
final class PairSum {
    static final VectorShuffle<Float> BY_8 = exchange(8);
    static final VectorShuffle<Float> BY_4 = exchange(4);
    static final VectorShuffle<Float> BY_2 = exchange(2);
    static final VectorShuffle<Float> BY_1 = exchange(1);

    /// The lanes of the second row.
    static final VectorMask<Float> HIGH_LANES = FloatVector.zero(Lanes.F32).addIndex(1).compare(VectorOperators.GE, 8f);

    /// One of them.
    static final int HIGH_LANE = 8;

    private PairSum() {}

    private static VectorShuffle<Float> exchange(int distance) {
        return VectorShuffle.fromOp(Lanes.F32, lane -> (lane ^ distance) % Lanes.COUNT);
    }
}
