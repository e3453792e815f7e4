package io.vectune.runtime.nn;

import io.vectune.runtime.compute.VectorWidth;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/// The vector species of this package's kernels and the fixed order of their sums.
///
/// Kernels call the Vector API directly and pass arrays, not vectors, to each other: C2 inlines the API's own methods
/// always, but a method of ours only below a limit of nodes that a kernel reaches with some twenty vector operations,
/// and a vector that crosses a call is allocated.
///
/// A vector that is summed up in a loop is not stored as such but as `ONE.mul(sum)`, the same bits. Of a loop variable
/// C2 first knows only the static type FloatVector; `sum.intoArray` is then compiled for every width that the process
/// has ever stored (the transposer works on 256 bits), and the loop allocates a vector each round: up to 19 GB a
/// training step, and half of its speed, depending on what was compiled first. A product has the class of its left
/// side.
final class Lanes {
    static final VectorSpecies<Float> SPECIES = VectorWidth.F32;
    static final ByteOrder ORDER = ByteOrder.LITTLE_ENDIAN;
    static final int LENGTH = SPECIES.length();

    /// Ones, to end sums with.
    static final FloatVector ONE = FloatVector.broadcast(SPECIES, 1);

    /// Doubles in a vector of the same width.
    static final VectorSpecies<Double> DOUBLES = VectorSpecies.of(double.class, SPECIES.vectorShape());

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

    /// The sum of a vector of doubles that was stored as floats (`reinterpretAsFloats`), low half first, folded in the
    /// same way.
    static double sumOfDoubles(float[] lanes) {
        if (LENGTH == 16) {
            return ((at(lanes, 0) + at(lanes, 4)) + (at(lanes, 2) + at(lanes, 6)))
                    + ((at(lanes, 1) + at(lanes, 5)) + (at(lanes, 3) + at(lanes, 7)));
        }
        if (LENGTH == 8) {
            return (at(lanes, 0) + at(lanes, 2)) + (at(lanes, 1) + at(lanes, 3));
        }
        return at(lanes, 0) + at(lanes, 1);
    }

    private static double at(float[] lanes, int index) {
        long low = Integer.toUnsignedLong(Float.floatToRawIntBits(lanes[2 * index]));
        long high = Float.floatToRawIntBits(lanes[2 * index + 1]);
        return Double.longBitsToDouble(high << 32 | low);
    }
}
