package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.AHEAD_STEP;
import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;

import io.vectune.runtime.compute.VectorWidth;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/// Register tiles of rows x vectors, written out: the accumulators are local variables, since vectors in arrays or
/// fields would be objects.
///
///     c[r, v] += sum_k left[r, k] * right[k, v]         one fused multiply-add chain per lane, in the order of k
///
/// The loops count the left index, `a`, and derive the others from it: one array and one variable less, and the compiler
/// keeps all of a loop in registers. On Intel's processors it moves what has no room into vector registers and back, each
/// k, through the ports that the multiply-adds keep busy: 70 % of the peak in place of 78 %.
///
/// The strides are constants, so that the compiler takes the checks of all indexes out of the loop: a stride in a variable
/// cost 3 %.
///
/// Registers: rows * vectors accumulators, the vectors of one right row, and up to `rows` broadcasts, since the compiler may
/// load them all before the first multiply-add. 8 x 2 takes 16 + 2 + 8 = 26 of the 32 of AVX-512 and NEON and runs at the peak
/// however it is compiled. 12 x 2 did so in some processes and spilled accumulators to the stack in others, for good,
/// at 60 to 75 % of the peak; 10 x 2 spilled beside one more load. 6 x 2 takes 15 of the 16 of AVX2, one broadcast at a time.
final class RegisterTiles {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final int LANES = F32.length();

    /// Whether there are 32 vector registers: AVX-512, and NEON whatever its width.
    static final boolean WIDE = F32.vectorBitSize() == 512 || System.getProperty("os.arch", "").equals("aarch64");

    /// Left rows of a full tile.
    static final int ROWS = WIDE ? 8 : 6;

    // Sums end with a product by one, the same bits: of a loop variable C2 does not know the class at first, and
    // `sum.intoArray` is compiled for every width that the process has used (the transposer's too), with an object each
    // round of the loop: up to 40 times slower, depending on what was compiled first.
    private static final FloatVector ONE = FloatVector.broadcast(F32, 1);

    private RegisterTiles() {}

    /// A use of what was read ahead that a compiler cannot leave out, and that changes no result. The tiles add up the
    /// bits of it as an int, which takes none of the two ports that the multiply-adds keep busy: adding floats cost 15
    /// % to 20 % on Intel's Emerald Rapids.
    private static void use(int touched) {
        if (touched == 0x5A17C0DE) {
            Thread.onSpinWait();
        }
    }

    static void tile8x2(
            int depth, float[] left, int leftOffset, float[] right, int rightOffset, float[] c, int at, int aheadAt) {
        FloatVector c0x0 = FloatVector.fromArray(F32, c, at);
        FloatVector c0x1 = FloatVector.fromArray(F32, c, at + LANES);
        FloatVector c1x0 = FloatVector.fromArray(F32, c, at + 2 * LANES);
        FloatVector c1x1 = FloatVector.fromArray(F32, c, at + 3 * LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, c, at + 4 * LANES);
        FloatVector c2x1 = FloatVector.fromArray(F32, c, at + 5 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, c, at + 6 * LANES);
        FloatVector c3x1 = FloatVector.fromArray(F32, c, at + 7 * LANES);
        FloatVector c4x0 = FloatVector.fromArray(F32, c, at + 8 * LANES);
        FloatVector c4x1 = FloatVector.fromArray(F32, c, at + 9 * LANES);
        FloatVector c5x0 = FloatVector.fromArray(F32, c, at + 10 * LANES);
        FloatVector c5x1 = FloatVector.fromArray(F32, c, at + 11 * LANES);
        FloatVector c6x0 = FloatVector.fromArray(F32, c, at + 12 * LANES);
        FloatVector c6x1 = FloatVector.fromArray(F32, c, at + 13 * LANES);
        FloatVector c7x0 = FloatVector.fromArray(F32, c, at + 14 * LANES);
        FloatVector c7x1 = FloatVector.fromArray(F32, c, at + 15 * LANES);
        int touched = 0;
        int end = leftOffset + depth;
        int rightShift = rightOffset - 2 * LANES * leftOffset;
        int aheadShift = aheadAt - AHEAD_STEP * leftOffset;
        for (int a = leftOffset; a < end; a++) {
            int b = 2 * LANES * a + rightShift;
            touched += Float.floatToRawIntBits(right[AHEAD_STEP * a + aheadShift]);
            FloatVector b0 = FloatVector.fromArray(F32, right, b);
            FloatVector b1 = FloatVector.fromArray(F32, right, b + LANES);
            FloatVector x = FloatVector.broadcast(F32, left[a]);
            c0x0 = x.fma(b0, c0x0);
            c0x1 = x.fma(b1, c0x1);
            x = FloatVector.broadcast(F32, left[a + LEFT_STRIDE]);
            c1x0 = x.fma(b0, c1x0);
            c1x1 = x.fma(b1, c1x1);
            x = FloatVector.broadcast(F32, left[a + 2 * LEFT_STRIDE]);
            c2x0 = x.fma(b0, c2x0);
            c2x1 = x.fma(b1, c2x1);
            x = FloatVector.broadcast(F32, left[a + 3 * LEFT_STRIDE]);
            c3x0 = x.fma(b0, c3x0);
            c3x1 = x.fma(b1, c3x1);
            x = FloatVector.broadcast(F32, left[a + 4 * LEFT_STRIDE]);
            c4x0 = x.fma(b0, c4x0);
            c4x1 = x.fma(b1, c4x1);
            x = FloatVector.broadcast(F32, left[a + 5 * LEFT_STRIDE]);
            c5x0 = x.fma(b0, c5x0);
            c5x1 = x.fma(b1, c5x1);
            x = FloatVector.broadcast(F32, left[a + 6 * LEFT_STRIDE]);
            c6x0 = x.fma(b0, c6x0);
            c6x1 = x.fma(b1, c6x1);
            x = FloatVector.broadcast(F32, left[a + 7 * LEFT_STRIDE]);
            c7x0 = x.fma(b0, c7x0);
            c7x1 = x.fma(b1, c7x1);
        }
        ONE.mul(c0x0).intoArray(c, at);
        ONE.mul(c0x1).intoArray(c, at + LANES);
        ONE.mul(c1x0).intoArray(c, at + 2 * LANES);
        ONE.mul(c1x1).intoArray(c, at + 3 * LANES);
        ONE.mul(c2x0).intoArray(c, at + 4 * LANES);
        ONE.mul(c2x1).intoArray(c, at + 5 * LANES);
        ONE.mul(c3x0).intoArray(c, at + 6 * LANES);
        ONE.mul(c3x1).intoArray(c, at + 7 * LANES);
        ONE.mul(c4x0).intoArray(c, at + 8 * LANES);
        ONE.mul(c4x1).intoArray(c, at + 9 * LANES);
        ONE.mul(c5x0).intoArray(c, at + 10 * LANES);
        ONE.mul(c5x1).intoArray(c, at + 11 * LANES);
        ONE.mul(c6x0).intoArray(c, at + 12 * LANES);
        ONE.mul(c6x1).intoArray(c, at + 13 * LANES);
        ONE.mul(c7x0).intoArray(c, at + 14 * LANES);
        ONE.mul(c7x1).intoArray(c, at + 15 * LANES);
        use(touched);
    }

    static void tile6x2(
            int depth, float[] left, int leftOffset, float[] right, int rightOffset, float[] c, int at, int aheadAt) {
        FloatVector c0x0 = FloatVector.fromArray(F32, c, at);
        FloatVector c0x1 = FloatVector.fromArray(F32, c, at + LANES);
        FloatVector c1x0 = FloatVector.fromArray(F32, c, at + 2 * LANES);
        FloatVector c1x1 = FloatVector.fromArray(F32, c, at + 3 * LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, c, at + 4 * LANES);
        FloatVector c2x1 = FloatVector.fromArray(F32, c, at + 5 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, c, at + 6 * LANES);
        FloatVector c3x1 = FloatVector.fromArray(F32, c, at + 7 * LANES);
        FloatVector c4x0 = FloatVector.fromArray(F32, c, at + 8 * LANES);
        FloatVector c4x1 = FloatVector.fromArray(F32, c, at + 9 * LANES);
        FloatVector c5x0 = FloatVector.fromArray(F32, c, at + 10 * LANES);
        FloatVector c5x1 = FloatVector.fromArray(F32, c, at + 11 * LANES);
        int touched = 0;
        int end = leftOffset + depth;
        int rightShift = rightOffset - 2 * LANES * leftOffset;
        int aheadShift = aheadAt - AHEAD_STEP * leftOffset;
        for (int a = leftOffset; a < end; a++) {
            int b = 2 * LANES * a + rightShift;
            touched += Float.floatToRawIntBits(right[AHEAD_STEP * a + aheadShift]);
            FloatVector b0 = FloatVector.fromArray(F32, right, b);
            FloatVector b1 = FloatVector.fromArray(F32, right, b + LANES);
            FloatVector x = FloatVector.broadcast(F32, left[a]);
            c0x0 = x.fma(b0, c0x0);
            c0x1 = x.fma(b1, c0x1);
            x = FloatVector.broadcast(F32, left[a + LEFT_STRIDE]);
            c1x0 = x.fma(b0, c1x0);
            c1x1 = x.fma(b1, c1x1);
            x = FloatVector.broadcast(F32, left[a + 2 * LEFT_STRIDE]);
            c2x0 = x.fma(b0, c2x0);
            c2x1 = x.fma(b1, c2x1);
            x = FloatVector.broadcast(F32, left[a + 3 * LEFT_STRIDE]);
            c3x0 = x.fma(b0, c3x0);
            c3x1 = x.fma(b1, c3x1);
            x = FloatVector.broadcast(F32, left[a + 4 * LEFT_STRIDE]);
            c4x0 = x.fma(b0, c4x0);
            c4x1 = x.fma(b1, c4x1);
            x = FloatVector.broadcast(F32, left[a + 5 * LEFT_STRIDE]);
            c5x0 = x.fma(b0, c5x0);
            c5x1 = x.fma(b1, c5x1);
        }
        ONE.mul(c0x0).intoArray(c, at);
        ONE.mul(c0x1).intoArray(c, at + LANES);
        ONE.mul(c1x0).intoArray(c, at + 2 * LANES);
        ONE.mul(c1x1).intoArray(c, at + 3 * LANES);
        ONE.mul(c2x0).intoArray(c, at + 4 * LANES);
        ONE.mul(c2x1).intoArray(c, at + 5 * LANES);
        ONE.mul(c3x0).intoArray(c, at + 6 * LANES);
        ONE.mul(c3x1).intoArray(c, at + 7 * LANES);
        ONE.mul(c4x0).intoArray(c, at + 8 * LANES);
        ONE.mul(c4x1).intoArray(c, at + 9 * LANES);
        ONE.mul(c5x0).intoArray(c, at + 10 * LANES);
        ONE.mul(c5x1).intoArray(c, at + 11 * LANES);
        use(touched);
    }

    static void tile4x2(int depth, float[] left, int leftOffset, float[] right, int rightOffset, float[] c, int at) {
        FloatVector c0x0 = FloatVector.fromArray(F32, c, at);
        FloatVector c0x1 = FloatVector.fromArray(F32, c, at + LANES);
        FloatVector c1x0 = FloatVector.fromArray(F32, c, at + 2 * LANES);
        FloatVector c1x1 = FloatVector.fromArray(F32, c, at + 3 * LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, c, at + 4 * LANES);
        FloatVector c2x1 = FloatVector.fromArray(F32, c, at + 5 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, c, at + 6 * LANES);
        FloatVector c3x1 = FloatVector.fromArray(F32, c, at + 7 * LANES);
        for (int k = 0, b = rightOffset; k < depth; k++, b += 2 * LANES) {
            int a = leftOffset + k;
            FloatVector b0 = FloatVector.fromArray(F32, right, b);
            FloatVector b1 = FloatVector.fromArray(F32, right, b + LANES);
            FloatVector x = FloatVector.broadcast(F32, left[a]);
            c0x0 = x.fma(b0, c0x0);
            c0x1 = x.fma(b1, c0x1);
            x = FloatVector.broadcast(F32, left[a + LEFT_STRIDE]);
            c1x0 = x.fma(b0, c1x0);
            c1x1 = x.fma(b1, c1x1);
            x = FloatVector.broadcast(F32, left[a + 2 * LEFT_STRIDE]);
            c2x0 = x.fma(b0, c2x0);
            c2x1 = x.fma(b1, c2x1);
            x = FloatVector.broadcast(F32, left[a + 3 * LEFT_STRIDE]);
            c3x0 = x.fma(b0, c3x0);
            c3x1 = x.fma(b1, c3x1);
        }
        ONE.mul(c0x0).intoArray(c, at);
        ONE.mul(c0x1).intoArray(c, at + LANES);
        ONE.mul(c1x0).intoArray(c, at + 2 * LANES);
        ONE.mul(c1x1).intoArray(c, at + 3 * LANES);
        ONE.mul(c2x0).intoArray(c, at + 4 * LANES);
        ONE.mul(c2x1).intoArray(c, at + 5 * LANES);
        ONE.mul(c3x0).intoArray(c, at + 6 * LANES);
        ONE.mul(c3x1).intoArray(c, at + 7 * LANES);
    }

    static void tile8x1(int depth, float[] left, int leftOffset, float[] right, int rightOffset, float[] c, int at) {
        FloatVector c0x0 = FloatVector.fromArray(F32, c, at);
        FloatVector c1x0 = FloatVector.fromArray(F32, c, at + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, c, at + 2 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, c, at + 3 * LANES);
        FloatVector c4x0 = FloatVector.fromArray(F32, c, at + 4 * LANES);
        FloatVector c5x0 = FloatVector.fromArray(F32, c, at + 5 * LANES);
        FloatVector c6x0 = FloatVector.fromArray(F32, c, at + 6 * LANES);
        FloatVector c7x0 = FloatVector.fromArray(F32, c, at + 7 * LANES);
        for (int k = 0, b = rightOffset; k < depth; k++, b += LANES) {
            int a = leftOffset + k;
            FloatVector b0 = FloatVector.fromArray(F32, right, b);
            FloatVector x = FloatVector.broadcast(F32, left[a]);
            c0x0 = x.fma(b0, c0x0);
            x = FloatVector.broadcast(F32, left[a + LEFT_STRIDE]);
            c1x0 = x.fma(b0, c1x0);
            x = FloatVector.broadcast(F32, left[a + 2 * LEFT_STRIDE]);
            c2x0 = x.fma(b0, c2x0);
            x = FloatVector.broadcast(F32, left[a + 3 * LEFT_STRIDE]);
            c3x0 = x.fma(b0, c3x0);
            x = FloatVector.broadcast(F32, left[a + 4 * LEFT_STRIDE]);
            c4x0 = x.fma(b0, c4x0);
            x = FloatVector.broadcast(F32, left[a + 5 * LEFT_STRIDE]);
            c5x0 = x.fma(b0, c5x0);
            x = FloatVector.broadcast(F32, left[a + 6 * LEFT_STRIDE]);
            c6x0 = x.fma(b0, c6x0);
            x = FloatVector.broadcast(F32, left[a + 7 * LEFT_STRIDE]);
            c7x0 = x.fma(b0, c7x0);
        }
        ONE.mul(c0x0).intoArray(c, at);
        ONE.mul(c1x0).intoArray(c, at + LANES);
        ONE.mul(c2x0).intoArray(c, at + 2 * LANES);
        ONE.mul(c3x0).intoArray(c, at + 3 * LANES);
        ONE.mul(c4x0).intoArray(c, at + 4 * LANES);
        ONE.mul(c5x0).intoArray(c, at + 5 * LANES);
        ONE.mul(c6x0).intoArray(c, at + 6 * LANES);
        ONE.mul(c7x0).intoArray(c, at + 7 * LANES);
    }

    static void tile6x1(int depth, float[] left, int leftOffset, float[] right, int rightOffset, float[] c, int at) {
        FloatVector c0x0 = FloatVector.fromArray(F32, c, at);
        FloatVector c1x0 = FloatVector.fromArray(F32, c, at + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, c, at + 2 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, c, at + 3 * LANES);
        FloatVector c4x0 = FloatVector.fromArray(F32, c, at + 4 * LANES);
        FloatVector c5x0 = FloatVector.fromArray(F32, c, at + 5 * LANES);
        for (int k = 0, b = rightOffset; k < depth; k++, b += LANES) {
            int a = leftOffset + k;
            FloatVector b0 = FloatVector.fromArray(F32, right, b);
            FloatVector x = FloatVector.broadcast(F32, left[a]);
            c0x0 = x.fma(b0, c0x0);
            x = FloatVector.broadcast(F32, left[a + LEFT_STRIDE]);
            c1x0 = x.fma(b0, c1x0);
            x = FloatVector.broadcast(F32, left[a + 2 * LEFT_STRIDE]);
            c2x0 = x.fma(b0, c2x0);
            x = FloatVector.broadcast(F32, left[a + 3 * LEFT_STRIDE]);
            c3x0 = x.fma(b0, c3x0);
            x = FloatVector.broadcast(F32, left[a + 4 * LEFT_STRIDE]);
            c4x0 = x.fma(b0, c4x0);
            x = FloatVector.broadcast(F32, left[a + 5 * LEFT_STRIDE]);
            c5x0 = x.fma(b0, c5x0);
        }
        ONE.mul(c0x0).intoArray(c, at);
        ONE.mul(c1x0).intoArray(c, at + LANES);
        ONE.mul(c2x0).intoArray(c, at + 2 * LANES);
        ONE.mul(c3x0).intoArray(c, at + 3 * LANES);
        ONE.mul(c4x0).intoArray(c, at + 4 * LANES);
        ONE.mul(c5x0).intoArray(c, at + 5 * LANES);
    }

    static void tile4x1(int depth, float[] left, int leftOffset, float[] right, int rightOffset, float[] c, int at) {
        FloatVector c0x0 = FloatVector.fromArray(F32, c, at);
        FloatVector c1x0 = FloatVector.fromArray(F32, c, at + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, c, at + 2 * LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, c, at + 3 * LANES);
        for (int k = 0, b = rightOffset; k < depth; k++, b += LANES) {
            int a = leftOffset + k;
            FloatVector b0 = FloatVector.fromArray(F32, right, b);
            FloatVector x = FloatVector.broadcast(F32, left[a]);
            c0x0 = x.fma(b0, c0x0);
            x = FloatVector.broadcast(F32, left[a + LEFT_STRIDE]);
            c1x0 = x.fma(b0, c1x0);
            x = FloatVector.broadcast(F32, left[a + 2 * LEFT_STRIDE]);
            c2x0 = x.fma(b0, c2x0);
            x = FloatVector.broadcast(F32, left[a + 3 * LEFT_STRIDE]);
            c3x0 = x.fma(b0, c3x0);
        }
        ONE.mul(c0x0).intoArray(c, at);
        ONE.mul(c1x0).intoArray(c, at + LANES);
        ONE.mul(c2x0).intoArray(c, at + 2 * LANES);
        ONE.mul(c3x0).intoArray(c, at + 3 * LANES);
    }
}
