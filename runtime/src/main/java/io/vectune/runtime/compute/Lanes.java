package io.vectune.runtime.compute;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// Sums across the lanes of a vector in a fixed order.
///
/// `reduceLanes(ADD)` leaves the order open: the interpreter and compiled code give different bits. Here it is a tree:
/// lane i is added to lane i + n/2, then the n/2 sums likewise, down to one. For vector kernels of the width
/// [VectorWidth#F32]; call it from a kernel only, outside the inner loop, where it is inlined.
public final class Lanes {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final int LANES = F32.length();
    private static final VectorShuffle<Float> BY_8 = exchange(8);
    private static final VectorShuffle<Float> BY_4 = exchange(4);
    private static final VectorShuffle<Float> BY_2 = exchange(2);
    private static final VectorShuffle<Float> BY_1 = exchange(1);

    private Lanes() {}

    /// The sum of the lanes of a vector of the width in use.
    public static float sum(FloatVector vector) {
        FloatVector v = vector;
        if (LANES > 8) {
            v = v.add(v.rearrange(BY_8));
        }
        if (LANES > 4) {
            v = v.add(v.rearrange(BY_4));
        }
        v = v.add(v.rearrange(BY_2));
        v = v.add(v.rearrange(BY_1));
        return v.lane(0);
    }

    /// The same sum of `lanes` numbers in an array, a power of two of them; the array is overwritten.
    public static float sum(float[] values, int offset, int lanes) {
        for (int half = lanes / 2; half > 0; half /= 2) {
            for (int i = 0; i < half; i++) {
                values[offset + i] += values[offset + i + half];
            }
        }
        return values[offset];
    }

    private static VectorShuffle<Float> exchange(int distance) {
        return VectorShuffle.fromOp(F32, lane -> (lane ^ distance) % LANES);
    }
}
