package io.vectune.runtime.nn;

import io.vectune.runtime.compute.VectorWidth;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// The vector species of this package's kernels, with loads, stores and reductions of a fixed order.
///
/// All methods are small enough for C2 to inline, so that no vector is ever boxed.
final class Lanes {
    static final VectorSpecies<Float> SPECIES = VectorWidth.F32;
    static final int LENGTH = SPECIES.length();

    /// Doubles in a vector of the same width.
    static final VectorSpecies<Double> DOUBLES = VectorSpecies.of(double.class, SPECIES.vectorShape());

    /// Bytes of one vector.
    static final long BYTES = 4L * LENGTH;

    private static final VectorShuffle<Float> BY_8 = rotation(SPECIES, 8);
    private static final VectorShuffle<Float> BY_4 = rotation(SPECIES, 4);
    private static final VectorShuffle<Float> BY_2 = rotation(SPECIES, 2);
    private static final VectorShuffle<Float> BY_1 = rotation(SPECIES, 1);

    private static final VectorShuffle<Double> DOUBLES_BY_4 = rotation(DOUBLES, 4);
    private static final VectorShuffle<Double> DOUBLES_BY_2 = rotation(DOUBLES, 2);
    private static final VectorShuffle<Double> DOUBLES_BY_1 = rotation(DOUBLES, 1);

    private Lanes() {}

    private static <E> VectorShuffle<E> rotation(VectorSpecies<E> species, int distance) {
        return VectorShuffle.fromOp(species, lane -> (lane + distance) % species.length());
    }

    static FloatVector load(MemorySegment segment, long at) {
        return FloatVector.fromMemorySegment(SPECIES, segment, at, ByteOrder.LITTLE_ENDIAN);
    }

    static void store(FloatVector vector, MemorySegment segment, long at) {
        vector.intoMemorySegment(segment, at, ByteOrder.LITTLE_ENDIAN);
    }

    static FloatVector zero() {
        return FloatVector.zero(SPECIES);
    }

    static FloatVector broadcast(float value) {
        return FloatVector.broadcast(SPECIES, value);
    }

    /// The sum of all lanes: halves are added until one lane is left. `reduceLanes(ADD)` has no fixed order.
    static float sum(FloatVector v) {
        FloatVector folded = v;
        if (LENGTH == 16) {
            folded = folded.add(folded.rearrange(BY_8));
        }
        if (LENGTH >= 8) {
            folded = folded.add(folded.rearrange(BY_4));
        }
        folded = folded.add(folded.rearrange(BY_2));
        return folded.add(folded.rearrange(BY_1)).lane(0);
    }

    /// The sum of all lanes of doubles, folded in the same way.
    static double sum(DoubleVector v) {
        DoubleVector folded = v;
        if (LENGTH == 16) {
            folded = folded.add(folded.rearrange(DOUBLES_BY_4));
        }
        if (LENGTH >= 8) {
            folded = folded.add(folded.rearrange(DOUBLES_BY_2));
        }
        return folded.add(folded.rearrange(DOUBLES_BY_1)).lane(0);
    }

    /// The largest lane; exact in any order.
    static float max(FloatVector v) {
        return v.reduceLanes(VectorOperators.MAX);
    }
}
