package io.vectune.runtime.matmul;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// Transposes f32 in blocks of 16 x 16, in registers of 512 bits, in two passes over memory of four rows each.
///
/// The first pass turns 4 rows of 16 columns into 4 runs of 4 columns, each 4 rows long, by two rounds of a perfect
/// shuffle (as [BlockTranspose]). The second does the same with runs of 4 floats in place of single ones: it turns 4
/// such vectors, of 16 rows together, into 4 columns of 16. Between the passes a block lies in the rows of the target
/// that it is going to fill.
///
/// That is half a shuffle and a load and store of 4 bytes an element less than blocks of 4 x 4, which store 16 bytes at
/// a time; and no more code, so that the compiler inlines all of it.
final class WideTranspose {
    static final int BLOCK = 16;

    private static final int QUAD = 4;

    private static final VectorSpecies<Integer> I32 = IntVector.SPECIES_512;
    private static final VectorSpecies<Float> F32 = FloatVector.SPECIES_512;
    private static final IntVector LOW = shuffle(0, 1);
    private static final IntVector HIGH = shuffle(BLOCK / 2, 1);
    private static final IntVector LOW_RUNS = shuffle(0, QUAD);
    private static final IntVector HIGH_RUNS = shuffle(BLOCK / 2, QUAD);

    // A product by one, the same bits, in a vector of a known class: see RegisterTiles.
    private static final FloatVector ONE = FloatVector.broadcast(F32, 1);

    private WideTranspose() {}

    /// Runs of `run` elements of two vectors in turns, from element `first` of each on.
    private static IntVector shuffle(int first, int run) {
        int[] index = new int[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            int pair = i / (2 * run);
            int vector = i / run % 2;
            index[i] = vector * BLOCK + first + pair * run + i % run;
        }
        return IntVector.fromArray(I32, index, 0);
    }

    /// target[to + column * targetStride + row] = source[from + row * stride + column] for 16 * tall rows and 16 * wide
    /// columns.
    static void copy(
            float[] source, int from, int stride, int tall, int wide, float[] target, int to, int targetStride) {
        // The inner loops run along the longer side.
        boolean alongRows = tall >= wide;
        int count = alongRows ? tall : wide;
        int step = alongRows ? BLOCK * stride : BLOCK;
        int targetStep = alongRows ? BLOCK : BLOCK * targetStride;
        int others = alongRows ? wide : tall;
        int otherStep = alongRows ? BLOCK : BLOCK * stride;
        int otherTargetStep = alongRows ? BLOCK * targetStride : BLOCK;
        for (int other = 0; other < others; other++) {
            int at = from + other * otherStep;
            int first = to + other * otherTargetStep;
            for (int quad = 0; quad < QUAD; quad++) {
                int row = at + QUAD * quad * stride;
                spread(source, row, step, stride, count, target, first + quad * targetStride, targetStep, targetStride);
            }
            for (int quad = 0; quad < QUAD; quad++) {
                join(count, target, first + QUAD * quad * targetStride, targetStep, targetStride);
            }
        }
    }

    /// Four rows of a block: run j, of its columns 4 j to 4 j + 3, goes to target[to + 4 j * targetStride]. The same
    /// for `count` blocks, `step` apart.
    private static void spread(
            float[] source,
            int from,
            int step,
            int stride,
            int count,
            float[] target,
            int to,
            int targetStep,
            int targetStride) {
        for (int block = 0; block < count; block++) {
            int at = from + block * step;
            int first = to + block * targetStep;
            IntVector a0 = FloatVector.fromArray(F32, source, at).reinterpretAsInts();
            IntVector a1 = FloatVector.fromArray(F32, source, at + stride).reinterpretAsInts();
            IntVector a2 = FloatVector.fromArray(F32, source, at + 2 * stride).reinterpretAsInts();
            IntVector a3 = FloatVector.fromArray(F32, source, at + 3 * stride).reinterpretAsInts();
            IntVector b0 = LOW.selectFrom(a0, a2);
            IntVector b1 = HIGH.selectFrom(a0, a2);
            IntVector b2 = LOW.selectFrom(a1, a3);
            IntVector b3 = HIGH.selectFrom(a1, a3);
            ONE.mul(LOW.selectFrom(b0, b2).reinterpretAsFloats()).intoArray(target, first);
            ONE.mul(HIGH.selectFrom(b0, b2).reinterpretAsFloats()).intoArray(target, first + QUAD * targetStride);
            ONE.mul(LOW.selectFrom(b1, b3).reinterpretAsFloats()).intoArray(target, first + 2 * QUAD * targetStride);
            ONE.mul(HIGH.selectFrom(b1, b3).reinterpretAsFloats()).intoArray(target, first + 3 * QUAD * targetStride);
        }
    }

    /// Four vectors of four runs each become four columns, in place: for `count` blocks, `step` apart.
    private static void join(int count, float[] target, int to, int step, int stride) {
        for (int block = 0; block < count; block++) {
            int at = to + block * step;
            IntVector a0 = FloatVector.fromArray(F32, target, at).reinterpretAsInts();
            IntVector a1 = FloatVector.fromArray(F32, target, at + stride).reinterpretAsInts();
            IntVector a2 = FloatVector.fromArray(F32, target, at + 2 * stride).reinterpretAsInts();
            IntVector a3 = FloatVector.fromArray(F32, target, at + 3 * stride).reinterpretAsInts();
            IntVector b0 = LOW_RUNS.selectFrom(a0, a2);
            IntVector b1 = HIGH_RUNS.selectFrom(a0, a2);
            IntVector b2 = LOW_RUNS.selectFrom(a1, a3);
            IntVector b3 = HIGH_RUNS.selectFrom(a1, a3);
            ONE.mul(LOW_RUNS.selectFrom(b0, b2).reinterpretAsFloats()).intoArray(target, at);
            ONE.mul(HIGH_RUNS.selectFrom(b0, b2).reinterpretAsFloats()).intoArray(target, at + stride);
            ONE.mul(LOW_RUNS.selectFrom(b1, b3).reinterpretAsFloats()).intoArray(target, at + 2 * stride);
            ONE.mul(HIGH_RUNS.selectFrom(b1, b3).reinterpretAsFloats()).intoArray(target, at + 3 * stride);
        }
    }
}
