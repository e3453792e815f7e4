package io.vectune.runtime.matmul;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// Transposes f32 in blocks of 4 x 4, in registers of 128 bits, which every machine has.
///
/// Two rounds of a perfect shuffle: each round interleaves row i with row i + 2, which rotates the four bits of an
/// element's address (2 of the row, 2 of the column) by one; two rotations exchange row and column.
///
/// Blocks of 8 x 8 in registers of 256 bits need a third less instructions an element, but so much code that the
/// compiler gave up inlining in some runs and boxed the vectors.
public final class BlockTranspose {
    /// Rows and columns of a block.
    public static final int BLOCK = 4;

    private static final VectorSpecies<Integer> I32 = IntVector.SPECIES_128;
    private static final VectorSpecies<Float> F32 = FloatVector.SPECIES_128;
    private static final IntVector LOW = IntVector.fromArray(I32, new int[] {0, 4, 1, 5}, 0);
    private static final IntVector HIGH = IntVector.fromArray(I32, new int[] {2, 6, 3, 7}, 0);

    // A product by one, the same bits, in a vector of a known class: see RegisterTiles.
    private static final FloatVector ONE = FloatVector.broadcast(F32, 1);

    private BlockTranspose() {}

    /// target[to + column * targetStride + row] = source[from + row * stride + column] for 4 rows and 4 * blocks
    /// columns.
    public static void copy(
            float[] source, int from, int stride, int blocks, float[] target, int to, int targetStride) {
        for (int block = 0; block < blocks; block++) {
            int at = from + BLOCK * block;
            int first = to + BLOCK * block * targetStride;
            IntVector a0 = FloatVector.fromArray(F32, source, at).reinterpretAsInts();
            IntVector a1 = FloatVector.fromArray(F32, source, at + stride).reinterpretAsInts();
            IntVector a2 = FloatVector.fromArray(F32, source, at + 2 * stride).reinterpretAsInts();
            IntVector a3 = FloatVector.fromArray(F32, source, at + 3 * stride).reinterpretAsInts();
            IntVector b0 = LOW.selectFrom(a0, a2);
            IntVector b1 = HIGH.selectFrom(a0, a2);
            IntVector b2 = LOW.selectFrom(a1, a3);
            IntVector b3 = HIGH.selectFrom(a1, a3);
            ONE.mul(LOW.selectFrom(b0, b2).reinterpretAsFloats()).intoArray(target, first);
            ONE.mul(HIGH.selectFrom(b0, b2).reinterpretAsFloats()).intoArray(target, first + targetStride);
            ONE.mul(LOW.selectFrom(b1, b3).reinterpretAsFloats()).intoArray(target, first + 2 * targetStride);
            ONE.mul(HIGH.selectFrom(b1, b3).reinterpretAsFloats()).intoArray(target, first + 3 * targetStride);
        }
    }
}
