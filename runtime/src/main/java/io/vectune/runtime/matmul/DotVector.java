package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.VectorWidth;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorSpecies;

/// The Vector API kernels: same chains of operations as [DotScalar] of as many lanes, same bits.
///
/// Registers: 4 rows x 4 tokens take 16 accumulators and 8 operands of the 32 of AVX-512 and NEON; 4 x 2 take 8 and 6
/// of the 16 of AVX2. The tiles are written out, and their sums end with a product by one: see [RegisterTiles].
final class DotVector implements DotKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final VectorSpecies<Integer> I32 = F32.withLanes(int.class);
    private static final int LANES = F32.length();
    private static final int MAX_TOKENS = RegisterTiles.WIDE ? 4 : 2;

    private static final FloatVector ONE = FloatVector.broadcast(F32, 1);

    // The even and the odd lanes of two vectors side by side.
    private static final IntVector EVEN = IntVector.zero(I32).addIndex(2);
    private static final IntVector ODD = EVEN.add(1);

    @Override
    public int lanes() {
        return LANES;
    }

    @Override
    public int maxTokens() {
        return MAX_TOKENS;
    }

    @Override
    public void multiply(
            int tokens, int depth, float[] weights, int weightsAt, float[] x, int xAt, float[] sums, int at) {
        if (tokens == 4) {
            tile4x4(depth, weights, weightsAt, x, xAt, sums, at);
        } else if (tokens == 3) {
            tile4x3(depth, weights, weightsAt, x, xAt, sums, at);
        } else {
            tile4x2(depth, weights, weightsAt, x, xAt, sums, at);
        }
    }

    /// Two vectors become one of half the lanes of each, added to their neighbors; four become one in two such rounds.
    @Override
    public void fold(float[] sums, int vectors) {
        foldFour(sums, vectors / 4);
        if (LANES == 16) {
            foldFour(sums, vectors / 16);
        } else if (LANES == 8) {
            foldTwo(sums, vectors / 8);
        }
    }

    private static void foldFour(float[] sums, int count) {
        for (int i = 0; i < count; i++) {
            int at = 4 * i * LANES;
            IntVector a = FloatVector.fromArray(F32, sums, at).reinterpretAsInts();
            IntVector b = FloatVector.fromArray(F32, sums, at + LANES).reinterpretAsInts();
            IntVector c = FloatVector.fromArray(F32, sums, at + 2 * LANES).reinterpretAsInts();
            IntVector d = FloatVector.fromArray(F32, sums, at + 3 * LANES).reinterpretAsInts();
            FloatVector ab = EVEN.selectFrom(a, b).reinterpretAsFloats();
            ab = ab.add(ODD.selectFrom(a, b).reinterpretAsFloats());
            FloatVector cd = EVEN.selectFrom(c, d).reinterpretAsFloats();
            cd = cd.add(ODD.selectFrom(c, d).reinterpretAsFloats());
            a = ab.reinterpretAsInts();
            c = cd.reinterpretAsInts();
            FloatVector even = EVEN.selectFrom(a, c).reinterpretAsFloats();
            even.add(ODD.selectFrom(a, c).reinterpretAsFloats()).intoArray(sums, i * LANES);
        }
    }

    private static void foldTwo(float[] sums, int count) {
        for (int i = 0; i < count; i++) {
            IntVector a = FloatVector.fromArray(F32, sums, 2 * i * LANES).reinterpretAsInts();
            IntVector b = FloatVector.fromArray(F32, sums, (2 * i + 1) * LANES).reinterpretAsInts();
            FloatVector even = EVEN.selectFrom(a, b).reinterpretAsFloats();
            even.add(ODD.selectFrom(a, b).reinterpretAsFloats()).intoArray(sums, i * LANES);
        }
    }

    private static void tile4x4(int depth, float[] weights, int weightsAt, float[] x, int xAt, float[] sums, int to) {
        FloatVector c0x0 = FloatVector.fromArray(F32, sums, to);
        FloatVector c1x0 = FloatVector.fromArray(F32, sums, to + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, sums, to + 2 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, sums, to + 3 * LANES);
        FloatVector c0x1 = FloatVector.fromArray(F32, sums, to + 4 * LANES);
        FloatVector c1x1 = FloatVector.fromArray(F32, sums, to + 5 * LANES);
        FloatVector c2x1 = FloatVector.fromArray(F32, sums, to + 6 * LANES);
        FloatVector c3x1 = FloatVector.fromArray(F32, sums, to + 7 * LANES);
        FloatVector c0x2 = FloatVector.fromArray(F32, sums, to + 8 * LANES);
        FloatVector c1x2 = FloatVector.fromArray(F32, sums, to + 9 * LANES);
        FloatVector c2x2 = FloatVector.fromArray(F32, sums, to + 10 * LANES);
        FloatVector c3x2 = FloatVector.fromArray(F32, sums, to + 11 * LANES);
        FloatVector c0x3 = FloatVector.fromArray(F32, sums, to + 12 * LANES);
        FloatVector c1x3 = FloatVector.fromArray(F32, sums, to + 13 * LANES);
        FloatVector c2x3 = FloatVector.fromArray(F32, sums, to + 14 * LANES);
        FloatVector c3x3 = FloatVector.fromArray(F32, sums, to + 15 * LANES);
        for (int k = 0; k < depth; k += LANES) {
            int w = weightsAt + k;
            int at = xAt + k;
            FloatVector w0 = FloatVector.fromArray(F32, weights, w);
            FloatVector w1 = FloatVector.fromArray(F32, weights, w + STRIDE);
            FloatVector w2 = FloatVector.fromArray(F32, weights, w + 2 * STRIDE);
            FloatVector w3 = FloatVector.fromArray(F32, weights, w + 3 * STRIDE);
            FloatVector x0 = FloatVector.fromArray(F32, x, at);
            c0x0 = w0.fma(x0, c0x0);
            c1x0 = w1.fma(x0, c1x0);
            c2x0 = w2.fma(x0, c2x0);
            c3x0 = w3.fma(x0, c3x0);
            FloatVector x1 = FloatVector.fromArray(F32, x, at + STRIDE);
            c0x1 = w0.fma(x1, c0x1);
            c1x1 = w1.fma(x1, c1x1);
            c2x1 = w2.fma(x1, c2x1);
            c3x1 = w3.fma(x1, c3x1);
            FloatVector x2 = FloatVector.fromArray(F32, x, at + 2 * STRIDE);
            c0x2 = w0.fma(x2, c0x2);
            c1x2 = w1.fma(x2, c1x2);
            c2x2 = w2.fma(x2, c2x2);
            c3x2 = w3.fma(x2, c3x2);
            FloatVector x3 = FloatVector.fromArray(F32, x, at + 3 * STRIDE);
            c0x3 = w0.fma(x3, c0x3);
            c1x3 = w1.fma(x3, c1x3);
            c2x3 = w2.fma(x3, c2x3);
            c3x3 = w3.fma(x3, c3x3);
        }
        ONE.mul(c0x0).intoArray(sums, to);
        ONE.mul(c1x0).intoArray(sums, to + LANES);
        ONE.mul(c2x0).intoArray(sums, to + 2 * LANES);
        ONE.mul(c3x0).intoArray(sums, to + 3 * LANES);
        ONE.mul(c0x1).intoArray(sums, to + 4 * LANES);
        ONE.mul(c1x1).intoArray(sums, to + 5 * LANES);
        ONE.mul(c2x1).intoArray(sums, to + 6 * LANES);
        ONE.mul(c3x1).intoArray(sums, to + 7 * LANES);
        ONE.mul(c0x2).intoArray(sums, to + 8 * LANES);
        ONE.mul(c1x2).intoArray(sums, to + 9 * LANES);
        ONE.mul(c2x2).intoArray(sums, to + 10 * LANES);
        ONE.mul(c3x2).intoArray(sums, to + 11 * LANES);
        ONE.mul(c0x3).intoArray(sums, to + 12 * LANES);
        ONE.mul(c1x3).intoArray(sums, to + 13 * LANES);
        ONE.mul(c2x3).intoArray(sums, to + 14 * LANES);
        ONE.mul(c3x3).intoArray(sums, to + 15 * LANES);
    }

    private static void tile4x3(int depth, float[] weights, int weightsAt, float[] x, int xAt, float[] sums, int to) {
        FloatVector c0x0 = FloatVector.fromArray(F32, sums, to);
        FloatVector c1x0 = FloatVector.fromArray(F32, sums, to + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, sums, to + 2 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, sums, to + 3 * LANES);
        FloatVector c0x1 = FloatVector.fromArray(F32, sums, to + 4 * LANES);
        FloatVector c1x1 = FloatVector.fromArray(F32, sums, to + 5 * LANES);
        FloatVector c2x1 = FloatVector.fromArray(F32, sums, to + 6 * LANES);
        FloatVector c3x1 = FloatVector.fromArray(F32, sums, to + 7 * LANES);
        FloatVector c0x2 = FloatVector.fromArray(F32, sums, to + 8 * LANES);
        FloatVector c1x2 = FloatVector.fromArray(F32, sums, to + 9 * LANES);
        FloatVector c2x2 = FloatVector.fromArray(F32, sums, to + 10 * LANES);
        FloatVector c3x2 = FloatVector.fromArray(F32, sums, to + 11 * LANES);
        for (int k = 0; k < depth; k += LANES) {
            int w = weightsAt + k;
            int at = xAt + k;
            FloatVector w0 = FloatVector.fromArray(F32, weights, w);
            FloatVector w1 = FloatVector.fromArray(F32, weights, w + STRIDE);
            FloatVector w2 = FloatVector.fromArray(F32, weights, w + 2 * STRIDE);
            FloatVector w3 = FloatVector.fromArray(F32, weights, w + 3 * STRIDE);
            FloatVector x0 = FloatVector.fromArray(F32, x, at);
            c0x0 = w0.fma(x0, c0x0);
            c1x0 = w1.fma(x0, c1x0);
            c2x0 = w2.fma(x0, c2x0);
            c3x0 = w3.fma(x0, c3x0);
            FloatVector x1 = FloatVector.fromArray(F32, x, at + STRIDE);
            c0x1 = w0.fma(x1, c0x1);
            c1x1 = w1.fma(x1, c1x1);
            c2x1 = w2.fma(x1, c2x1);
            c3x1 = w3.fma(x1, c3x1);
            FloatVector x2 = FloatVector.fromArray(F32, x, at + 2 * STRIDE);
            c0x2 = w0.fma(x2, c0x2);
            c1x2 = w1.fma(x2, c1x2);
            c2x2 = w2.fma(x2, c2x2);
            c3x2 = w3.fma(x2, c3x2);
        }
        ONE.mul(c0x0).intoArray(sums, to);
        ONE.mul(c1x0).intoArray(sums, to + LANES);
        ONE.mul(c2x0).intoArray(sums, to + 2 * LANES);
        ONE.mul(c3x0).intoArray(sums, to + 3 * LANES);
        ONE.mul(c0x1).intoArray(sums, to + 4 * LANES);
        ONE.mul(c1x1).intoArray(sums, to + 5 * LANES);
        ONE.mul(c2x1).intoArray(sums, to + 6 * LANES);
        ONE.mul(c3x1).intoArray(sums, to + 7 * LANES);
        ONE.mul(c0x2).intoArray(sums, to + 8 * LANES);
        ONE.mul(c1x2).intoArray(sums, to + 9 * LANES);
        ONE.mul(c2x2).intoArray(sums, to + 10 * LANES);
        ONE.mul(c3x2).intoArray(sums, to + 11 * LANES);
    }

    private static void tile4x2(int depth, float[] weights, int weightsAt, float[] x, int xAt, float[] sums, int to) {
        FloatVector c0x0 = FloatVector.fromArray(F32, sums, to);
        FloatVector c1x0 = FloatVector.fromArray(F32, sums, to + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, sums, to + 2 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, sums, to + 3 * LANES);
        FloatVector c0x1 = FloatVector.fromArray(F32, sums, to + 4 * LANES);
        FloatVector c1x1 = FloatVector.fromArray(F32, sums, to + 5 * LANES);
        FloatVector c2x1 = FloatVector.fromArray(F32, sums, to + 6 * LANES);
        FloatVector c3x1 = FloatVector.fromArray(F32, sums, to + 7 * LANES);
        for (int k = 0; k < depth; k += LANES) {
            int w = weightsAt + k;
            int at = xAt + k;
            FloatVector w0 = FloatVector.fromArray(F32, weights, w);
            FloatVector w1 = FloatVector.fromArray(F32, weights, w + STRIDE);
            FloatVector w2 = FloatVector.fromArray(F32, weights, w + 2 * STRIDE);
            FloatVector w3 = FloatVector.fromArray(F32, weights, w + 3 * STRIDE);
            FloatVector x0 = FloatVector.fromArray(F32, x, at);
            c0x0 = w0.fma(x0, c0x0);
            c1x0 = w1.fma(x0, c1x0);
            c2x0 = w2.fma(x0, c2x0);
            c3x0 = w3.fma(x0, c3x0);
            FloatVector x1 = FloatVector.fromArray(F32, x, at + STRIDE);
            c0x1 = w0.fma(x1, c0x1);
            c1x1 = w1.fma(x1, c1x1);
            c2x1 = w2.fma(x1, c2x1);
            c3x1 = w3.fma(x1, c3x1);
        }
        ONE.mul(c0x0).intoArray(sums, to);
        ONE.mul(c1x0).intoArray(sums, to + LANES);
        ONE.mul(c2x0).intoArray(sums, to + 2 * LANES);
        ONE.mul(c3x0).intoArray(sums, to + 3 * LANES);
        ONE.mul(c0x1).intoArray(sums, to + 4 * LANES);
        ONE.mul(c1x1).intoArray(sums, to + 5 * LANES);
        ONE.mul(c2x1).intoArray(sums, to + 6 * LANES);
        ONE.mul(c3x1).intoArray(sums, to + 7 * LANES);
    }
}
