package io.vectune.quant.lanes;

import io.vectune.runtime.compute.VectorWidth;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorShuffle;
import jdk.incubator.vector.VectorSpecies;

/// Loads of bytes as int lanes, and the sum of lanes, at the vector width in use.
public final class Lanes {
    /// f32 lanes.
    public static final VectorSpecies<Float> F32 = VectorWidth.F32;

    /// As many int lanes.
    public static final VectorSpecies<Integer> I32 = F32.withLanes(int.class);

    /// Number of lanes: 4, 8 or 16.
    public static final int COUNT = F32.length();

    private static final VectorSpecies<Byte> BYTES =
            COUNT == 16
                    ? VectorSpecies.of(byte.class, VectorShape.S_128_BIT)
                    : VectorSpecies.of(byte.class, VectorShape.S_64_BIT);
    private static final IntVector LANE_INDEX = IntVector.zero(I32).addIndex(1);
    private static final IntVector BYTE_SHIFTS = IntVector.zero(I32).addIndex(8).and(31);

    private static final VectorShuffle<Float> FOLD_8 = VectorShuffle.fromOp(F32, lane -> (lane + 8) % COUNT);
    private static final VectorShuffle<Float> FOLD_4 = VectorShuffle.fromOp(F32, lane -> (lane + 4) % COUNT);
    private static final VectorShuffle<Float> FOLD_2 = VectorShuffle.fromOp(F32, lane -> (lane + 2) % COUNT);
    private static final VectorShuffle<Float> FOLD_1 = VectorShuffle.fromOp(F32, lane -> (lane + 1) % COUNT);

    private Lanes() {}

    /// [#COUNT] bytes from byte `offset`, each 0 to 255.
    public static IntVector unsignedBytes(MemorySegment segment, long offset) {
        if (COUNT == 4) {
            int word = segment.get(Tensor.INT, offset);
            return IntVector.broadcast(I32, word).lanewise(VectorOperators.LSHR, BYTE_SHIFTS).and(0xFF);
        }
        return (IntVector)
                ByteVector.fromMemorySegment(BYTES, segment, offset, ByteOrder.LITTLE_ENDIAN)
                        .convertShape(VectorOperators.ZERO_EXTEND_B2I, I32, 0);
    }

    /// [#COUNT] bytes from byte `offset`, each -128 to 127.
    public static IntVector signedBytes(MemorySegment segment, long offset) {
        if (COUNT == 4) {
            return unsignedBytes(segment, offset).lanewise(VectorOperators.LSHL, 24).lanewise(VectorOperators.ASHR, 24);
        }
        return (IntVector)
                ByteVector.fromMemorySegment(BYTES, segment, offset, ByteOrder.LITTLE_ENDIAN)
                        .convertShape(VectorOperators.B2I, I32, 0);
    }

    /// The low [#COUNT] bits of a word, one a lane: 0 or 1.
    public static IntVector bits(int word) {
        return IntVector.broadcast(I32, word).lanewise(VectorOperators.LSHR, LANE_INDEX).and(1);
    }

    /// A table of 16 f32 values, given by their bits, at the low four bits of each lane. The tables of one width: 16
    /// lanes use the first vector, 8 lanes the first two, 4 lanes all four.
    public static FloatVector lookup(
            IntVector index, IntVector table0, IntVector table1, IntVector table2, IntVector table3) {
        return lookupInts(index, table0, table1, table2, table3).reinterpretAsFloats();
    }

    /// A table of 16 ints at the low four bits of each lane, as [#lookup].
    public static IntVector lookupInts(
            IntVector index, IntVector table0, IntVector table1, IntVector table2, IntVector table3) {
        if (COUNT == 16) {
            return index.selectFrom(table0);
        }
        if (COUNT == 8) {
            return index.selectFrom(table0, table1);
        }
        IntVector low = index.selectFrom(table0, table1);
        IntVector high = index.selectFrom(table2, table3);
        return low.blend(high, index.and(8).compare(VectorOperators.NE, 0));
    }

    /// The low byte of each lane, to `bytes[from, from + COUNT)`.
    public static void storeBytes(IntVector lanes, byte[] bytes, int from) {
        if (COUNT == 4) {
            bytes[from] = (byte) lanes.lane(0);
            bytes[from + 1] = (byte) lanes.lane(1);
            bytes[from + 2] = (byte) lanes.lane(2);
            bytes[from + 3] = (byte) lanes.lane(3);
            return;
        }
        ((ByteVector) lanes.convertShape(VectorOperators.I2B, BYTES, 0)).intoArray(bytes, from);
    }

    /// Int lanes as f32 lanes, by value.
    public static FloatVector toFloat(IntVector lanes) {
        return (FloatVector) lanes.convertShape(VectorOperators.I2F, F32, 0);
    }

    /// The sum of all lanes in one fixed order: halves are added until one lane is left. (`reduceLanes(ADD)` may use
    /// any order, and another one after compilation.)
    public static float sum(FloatVector lanes) {
        FloatVector folded = lanes;
        if (COUNT == 16) {
            folded = folded.add(folded.rearrange(FOLD_8));
        }
        if (COUNT >= 8) {
            folded = folded.add(folded.rearrange(FOLD_4));
        }
        folded = folded.add(folded.rearrange(FOLD_2));
        folded = folded.add(folded.rearrange(FOLD_1));
        return folded.lane(0);
    }
}
