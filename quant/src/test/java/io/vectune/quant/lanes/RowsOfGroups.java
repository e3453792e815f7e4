package io.vectune.quant.lanes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;

/// Random codes, factors and offsets by group, and the check that a [FusedRows] multiplies them as they are defined:
///
///     y[row] = sum_column x[column] * (factor[row, group] * code[row, column] + offset[row, group])
final class RowsOfGroups implements RowSource {
    private static final int TOKENS = 3;

    /// [outFeatures][inFeatures], unsigned bytes.
    private final byte[][] code;

    /// [outFeatures][groups], as the offsets.
    private final float[][] factor;

    private final float[][] offset;

    private RowsOfGroups(byte[][] code, float[][] factor, float[][] offset) {
        this.code = code;
        this.factor = factor;
        this.offset = offset;
    }

    /// @param codes codes are in `[0, codes)`
    /// @param center offsets are -center factor if there are no `offsets`
    static RowsOfGroups random(int outFeatures, int inFeatures, int groups, int codes, int center, boolean offsets) {
        SplittableRandom random = new SplittableRandom(3);
        byte[][] code = new byte[outFeatures][inFeatures];
        float[][] factor = new float[outFeatures][groups];
        float[][] offset = new float[outFeatures][groups];
        for (int row = 0; row < outFeatures; row++) {
            for (int i = 0; i < inFeatures; i++) {
                code[row][i] = (byte) random.nextInt(codes);
            }
            for (int group = 0; group < groups; group++) {
                factor[row][group] = (float) random.nextDouble(-1, 1) / codes;
                offset[row][group] = offsets ? (float) random.nextDouble(-1, 1) : -center * factor[row][group];
            }
        }
        return new RowsOfGroups(code, factor, offset);
    }

    /// The codes, row after row, as a format that needs no layout stores them.
    MemorySegment stored() {
        MemorySegment stored = Arena.ofAuto().allocate((long) outFeatures() * inFeatures(), 64);
        for (int row = 0; row < outFeatures(); row++) {
            MemorySegment.copy(code[row], 0, stored, Tensor.BYTE, (long) row * inFeatures(), inFeatures());
        }
        return stored;
    }

    @Override
    public void read(int row, byte[] rowCodes, float[] rowFactor, float[] rowOffset) {
        System.arraycopy(code[row], 0, rowCodes, 0, rowCodes.length);
        System.arraycopy(factor[row], 0, rowFactor, 0, rowFactor.length);
        System.arraycopy(offset[row], 0, rowOffset, 0, rowOffset.length);
    }

    /// Compares products in two parts, then compiled ones, and what lies beside them.
    void check(FusedRows rows) {
        assertThat(rows.bytes()).isZero();
        int length = rows.preparedLength();
        float[] prepared = new float[TOKENS * length];
        SplittableRandom random = new SplittableRandom(4);
        try (Arena arena = Arena.ofConfined()) {
            Matrix x = Matrix.allocate(arena, TOKENS, inFeatures());
            for (int token = 0; token < TOKENS; token++) {
                for (int i = 0; i < inFeatures(); i++) {
                    x.set(token, i, (float) random.nextDouble(-1, 1));
                }
                rows.prepare(x.segment(), x.rowOffset(token), prepared, token * length);
            }
            Matrix frame = Matrix.allocate(arena, TOKENS, outFeatures() + 2);
            frame.fill(7f);
            Matrix y = frame.columns(0, outFeatures());
            int middle = rows.pairs() / 2;
            rows.multiply(prepared, TOKENS, y, middle, rows.pairs());
            rows.multiply(prepared, TOKENS, y, 0, middle);
            float[] cold = frame.toArray();
            for (int token = 0; token < TOKENS; token++) {
                for (int row = 0; row < outFeatures(); row++) {
                    // Halves of an ulp of a sum of terms below 2, a random walk.
                    assertThat((double) y.get(token, row))
                            .isCloseTo(expected(row, x, token), within(2e-6 * (1 + Math.sqrt(inFeatures()))));
                }
                assertThat(frame.get(token, outFeatures())).isEqualTo(7f);
            }
            for (int round = 0; round < 2_000; round++) {
                rows.multiply(prepared, TOKENS, y, 0, rows.pairs());
            }
            assertThat(frame.toArray()).isEqualTo(cold);
            assertThat(rows.bytes()).isPositive();
        }
    }

    private double expected(int row, Matrix x, int token) {
        int columns = inFeatures() / factor[row].length;
        double sum = 0;
        for (int i = 0; i < inFeatures(); i++) {
            int group = i / columns;
            sum += ((double) (code[row][i] & 0xFF) * factor[row][group] + offset[row][group]) * x.get(token, i);
        }
        return sum;
    }

    private int outFeatures() {
        return code.length;
    }

    private int inFeatures() {
        return code[0].length;
    }
}
