package io.vectune.runtime.nn;

import io.vectune.runtime.compute.VectorWidth;
import java.nio.ByteOrder;
import jdk.incubator.vector.VectorSpecies;

/// The vector species of this package's kernels and the fixed order of their sums.
///
/// Kernels call the Vector API directly and pass arrays, not vectors, to each other: C2 inlines the API's own methods
/// always, but a method of ours only below a limit of nodes that a kernel reaches with some twenty vector operations,
/// and a vector that crosses a call is allocated.
final class Lanes {
    static final VectorSpecies<Float> SPECIES = VectorWidth.F32;
    static final ByteOrder ORDER = ByteOrder.LITTLE_ENDIAN;
    static final int LENGTH = SPECIES.length();
    /// Bytes of one vector.
    static final long BYTES = 4L * LENGTH;

    private Lanes() {}

    /// The sum of the first LENGTH elements: halves are added until one element is left. `reduceLanes(ADD)` of floats
    /// has no fixed order. The array is overwritten.
    static float sum(float[] lanes) {
        for (int half = LENGTH / 2; half > 0; half /= 2) {
            for (int lane = 0; lane < half; lane++) {
                lanes[lane] += lanes[lane + half];
            }
        }
        return lanes[0];
    }
}
