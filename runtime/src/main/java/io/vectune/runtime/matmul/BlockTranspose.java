package io.vectune.runtime.matmul;

import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// Transposes 8 x 8 blocks of f32 in registers of 256 bits.
///
/// Three rounds of a perfect shuffle: each round interleaves row i with row i + 4, which rotates the six bits of an
/// element's address (3 of the row, 3 of the column) by one; three rotations exchange row and column.
final class BlockTranspose {
    static final int BLOCK = 8;

    private static final VectorSpecies<Integer> I32 = IntVector.SPECIES_256;
    private static final VectorSpecies<Float> F32 = FloatVector.SPECIES_256;
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;
    private static final IntVector LOW = IntVector.fromArray(I32, new int[] {0, 8, 1, 9, 2, 10, 3, 11}, 0);
    private static final IntVector HIGH = IntVector.fromArray(I32, new int[] {4, 12, 5, 13, 6, 14, 7, 15}, 0);

    private BlockTranspose() {}

    /// target[to + column * targetStride + row] = source[row, column] for 8 rows and 8 columns.
    ///
    /// @param from byte offset of the block
    /// @param sourceStride bytes from one row to the next
    static void fromSegment(MemorySegment source, long from, long sourceStride, float[] target, int to, int stride) {
        IntVector a0 = IntVector.fromMemorySegment(I32, source, from, LITTLE);
        IntVector a1 = IntVector.fromMemorySegment(I32, source, from + sourceStride, LITTLE);
        IntVector a2 = IntVector.fromMemorySegment(I32, source, from + 2 * sourceStride, LITTLE);
        IntVector a3 = IntVector.fromMemorySegment(I32, source, from + 3 * sourceStride, LITTLE);
        IntVector a4 = IntVector.fromMemorySegment(I32, source, from + 4 * sourceStride, LITTLE);
        IntVector a5 = IntVector.fromMemorySegment(I32, source, from + 5 * sourceStride, LITTLE);
        IntVector a6 = IntVector.fromMemorySegment(I32, source, from + 6 * sourceStride, LITTLE);
        IntVector a7 = IntVector.fromMemorySegment(I32, source, from + 7 * sourceStride, LITTLE);
        IntVector b0 = LOW.selectFrom(a0, a4);
        IntVector b1 = HIGH.selectFrom(a0, a4);
        IntVector b2 = LOW.selectFrom(a1, a5);
        IntVector b3 = HIGH.selectFrom(a1, a5);
        IntVector b4 = LOW.selectFrom(a2, a6);
        IntVector b5 = HIGH.selectFrom(a2, a6);
        IntVector b6 = LOW.selectFrom(a3, a7);
        IntVector b7 = HIGH.selectFrom(a3, a7);
        IntVector d0 = LOW.selectFrom(b0, b4);
        IntVector d1 = HIGH.selectFrom(b0, b4);
        IntVector d2 = LOW.selectFrom(b1, b5);
        IntVector d3 = HIGH.selectFrom(b1, b5);
        IntVector d4 = LOW.selectFrom(b2, b6);
        IntVector d5 = HIGH.selectFrom(b2, b6);
        IntVector d6 = LOW.selectFrom(b3, b7);
        IntVector d7 = HIGH.selectFrom(b3, b7);
        IntVector e0 = LOW.selectFrom(d0, d4);
        IntVector e1 = HIGH.selectFrom(d0, d4);
        IntVector e2 = LOW.selectFrom(d1, d5);
        IntVector e3 = HIGH.selectFrom(d1, d5);
        IntVector e4 = LOW.selectFrom(d2, d6);
        IntVector e5 = HIGH.selectFrom(d2, d6);
        IntVector e6 = LOW.selectFrom(d3, d7);
        IntVector e7 = HIGH.selectFrom(d3, d7);
        e0.reinterpretAsFloats().intoArray(target, to);
        e1.reinterpretAsFloats().intoArray(target, to + stride);
        e2.reinterpretAsFloats().intoArray(target, to + 2 * stride);
        e3.reinterpretAsFloats().intoArray(target, to + 3 * stride);
        e4.reinterpretAsFloats().intoArray(target, to + 4 * stride);
        e5.reinterpretAsFloats().intoArray(target, to + 5 * stride);
        e6.reinterpretAsFloats().intoArray(target, to + 6 * stride);
        e7.reinterpretAsFloats().intoArray(target, to + 7 * stride);
    }

    /// target[row, column] = alpha * tile[from + column * stride + row] for 8 rows and 8 columns of the target.
    ///
    /// @param to byte offset of the block
    /// @param targetStride bytes from one row to the next
    static void toSegment(
            float[] tile, int from, int stride, float alpha, MemorySegment target, long to, long targetStride) {
        IntVector a0 = FloatVector.fromArray(F32, tile, from).reinterpretAsInts();
        IntVector a1 = FloatVector.fromArray(F32, tile, from + stride).reinterpretAsInts();
        IntVector a2 = FloatVector.fromArray(F32, tile, from + 2 * stride).reinterpretAsInts();
        IntVector a3 = FloatVector.fromArray(F32, tile, from + 3 * stride).reinterpretAsInts();
        IntVector a4 = FloatVector.fromArray(F32, tile, from + 4 * stride).reinterpretAsInts();
        IntVector a5 = FloatVector.fromArray(F32, tile, from + 5 * stride).reinterpretAsInts();
        IntVector a6 = FloatVector.fromArray(F32, tile, from + 6 * stride).reinterpretAsInts();
        IntVector a7 = FloatVector.fromArray(F32, tile, from + 7 * stride).reinterpretAsInts();
        IntVector b0 = LOW.selectFrom(a0, a4);
        IntVector b1 = HIGH.selectFrom(a0, a4);
        IntVector b2 = LOW.selectFrom(a1, a5);
        IntVector b3 = HIGH.selectFrom(a1, a5);
        IntVector b4 = LOW.selectFrom(a2, a6);
        IntVector b5 = HIGH.selectFrom(a2, a6);
        IntVector b6 = LOW.selectFrom(a3, a7);
        IntVector b7 = HIGH.selectFrom(a3, a7);
        IntVector d0 = LOW.selectFrom(b0, b4);
        IntVector d1 = HIGH.selectFrom(b0, b4);
        IntVector d2 = LOW.selectFrom(b1, b5);
        IntVector d3 = HIGH.selectFrom(b1, b5);
        IntVector d4 = LOW.selectFrom(b2, b6);
        IntVector d5 = HIGH.selectFrom(b2, b6);
        IntVector d6 = LOW.selectFrom(b3, b7);
        IntVector d7 = HIGH.selectFrom(b3, b7);
        IntVector e0 = LOW.selectFrom(d0, d4);
        IntVector e1 = HIGH.selectFrom(d0, d4);
        IntVector e2 = LOW.selectFrom(d1, d5);
        IntVector e3 = HIGH.selectFrom(d1, d5);
        IntVector e4 = LOW.selectFrom(d2, d6);
        IntVector e5 = HIGH.selectFrom(d2, d6);
        IntVector e6 = LOW.selectFrom(d3, d7);
        IntVector e7 = HIGH.selectFrom(d3, d7);
        e0.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to, LITTLE);
        e1.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + targetStride, LITTLE);
        e2.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + 2 * targetStride, LITTLE);
        e3.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + 3 * targetStride, LITTLE);
        e4.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + 4 * targetStride, LITTLE);
        e5.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + 5 * targetStride, LITTLE);
        e6.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + 6 * targetStride, LITTLE);
        e7.reinterpretAsFloats().mul(alpha).intoMemorySegment(target, to + 7 * targetStride, LITTLE);
    }

    /// target[row, column] += alpha * tile[from + column * stride + row]: [#toSegment], added.
    static void addToSegment(
            float[] tile, int from, int stride, float alpha, MemorySegment target, long to, long targetStride) {
        IntVector a0 = FloatVector.fromArray(F32, tile, from).reinterpretAsInts();
        IntVector a1 = FloatVector.fromArray(F32, tile, from + stride).reinterpretAsInts();
        IntVector a2 = FloatVector.fromArray(F32, tile, from + 2 * stride).reinterpretAsInts();
        IntVector a3 = FloatVector.fromArray(F32, tile, from + 3 * stride).reinterpretAsInts();
        IntVector a4 = FloatVector.fromArray(F32, tile, from + 4 * stride).reinterpretAsInts();
        IntVector a5 = FloatVector.fromArray(F32, tile, from + 5 * stride).reinterpretAsInts();
        IntVector a6 = FloatVector.fromArray(F32, tile, from + 6 * stride).reinterpretAsInts();
        IntVector a7 = FloatVector.fromArray(F32, tile, from + 7 * stride).reinterpretAsInts();
        IntVector b0 = LOW.selectFrom(a0, a4);
        IntVector b1 = HIGH.selectFrom(a0, a4);
        IntVector b2 = LOW.selectFrom(a1, a5);
        IntVector b3 = HIGH.selectFrom(a1, a5);
        IntVector b4 = LOW.selectFrom(a2, a6);
        IntVector b5 = HIGH.selectFrom(a2, a6);
        IntVector b6 = LOW.selectFrom(a3, a7);
        IntVector b7 = HIGH.selectFrom(a3, a7);
        IntVector d0 = LOW.selectFrom(b0, b4);
        IntVector d1 = HIGH.selectFrom(b0, b4);
        IntVector d2 = LOW.selectFrom(b1, b5);
        IntVector d3 = HIGH.selectFrom(b1, b5);
        IntVector d4 = LOW.selectFrom(b2, b6);
        IntVector d5 = HIGH.selectFrom(b2, b6);
        IntVector d6 = LOW.selectFrom(b3, b7);
        IntVector d7 = HIGH.selectFrom(b3, b7);
        IntVector e0 = LOW.selectFrom(d0, d4);
        IntVector e1 = HIGH.selectFrom(d0, d4);
        IntVector e2 = LOW.selectFrom(d1, d5);
        IntVector e3 = HIGH.selectFrom(d1, d5);
        IntVector e4 = LOW.selectFrom(d2, d6);
        IntVector e5 = HIGH.selectFrom(d2, d6);
        IntVector e6 = LOW.selectFrom(d3, d7);
        IntVector e7 = HIGH.selectFrom(d3, d7);
        e0.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to, LITTLE))
                .intoMemorySegment(target, to, LITTLE);
        e1.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + targetStride, LITTLE))
                .intoMemorySegment(target, to + targetStride, LITTLE);
        e2.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + 2 * targetStride, LITTLE))
                .intoMemorySegment(target, to + 2 * targetStride, LITTLE);
        e3.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + 3 * targetStride, LITTLE))
                .intoMemorySegment(target, to + 3 * targetStride, LITTLE);
        e4.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + 4 * targetStride, LITTLE))
                .intoMemorySegment(target, to + 4 * targetStride, LITTLE);
        e5.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + 5 * targetStride, LITTLE))
                .intoMemorySegment(target, to + 5 * targetStride, LITTLE);
        e6.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + 6 * targetStride, LITTLE))
                .intoMemorySegment(target, to + 6 * targetStride, LITTLE);
        e7.reinterpretAsFloats()
                .mul(alpha)
                .add(FloatVector.fromMemorySegment(F32, target, to + 7 * targetStride, LITTLE))
                .intoMemorySegment(target, to + 7 * targetStride, LITTLE);
    }
}
