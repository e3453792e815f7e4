package io.vectune.quant.lanes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GroupedByteRowsTest {
    @ParameterizedTest
    @CsvSource({
        "1, 64, 64, 128, 256, true, false",
        "2, 64, 32, 16, 32, false, false",
        "7, 128, 16, 32, 64, false, false",
        "33, 576, 32, 16, 32, true, false",
        "40, 576, 64, 128, 256, true, true",
        "5, 1024, 256, 0, 256, true, true",
        "3, 192, 4, 128, 256, false, true"
    })
    void multipliesAsItsDefinition(
            int outFeatures, int inFeatures, int groupColumns, int center, int codes, boolean offsets, boolean stored) {
        assumeTrue(KernelTier.active() == KernelTier.VECTOR && GroupedByteRows.supports(inFeatures, groupColumns));
        SplittableRandom random = new SplittableRandom(3);
        int groups = inFeatures / Math.min(64, groupColumns);
        byte[][] code = new byte[outFeatures][inFeatures];
        float[][] factor = new float[outFeatures][groups];
        float[][] offset = new float[outFeatures][groups];
        MemorySegment storedCodes = Arena.ofAuto().allocate((long) outFeatures * inFeatures, 64);
        for (int row = 0; row < outFeatures; row++) {
            for (int i = 0; i < inFeatures; i++) {
                code[row][i] = (byte) random.nextInt(codes);
                storedCodes.set(Tensor.BYTE, (long) row * inFeatures + i, code[row][i]);
            }
            for (int group = 0; group < groups; group++) {
                factor[row][group] = (float) random.nextDouble(-1, 1) / codes;
                offset[row][group] = offsets ? (float) random.nextDouble(-1, 1) : -center * factor[row][group];
            }
        }
        GroupedByteRows rows =
                new GroupedByteRows(
                        outFeatures,
                        inFeatures,
                        groupColumns,
                        center,
                        offsets,
                        stored ? storedCodes : null,
                        (row, rowCodes, rowFactor, rowOffset) -> {
                            System.arraycopy(code[row], 0, rowCodes, 0, stored ? 0 : inFeatures);
                            System.arraycopy(factor[row], 0, rowFactor, 0, groups);
                            System.arraycopy(offset[row], 0, rowOffset, 0, groups);
                        });
        assertThat(rows.bytes()).isZero();
        int tokens = 3;
        int length = rows.preparedLength();
        float[] prepared = new float[tokens * length];
        try (Arena arena = Arena.ofConfined()) {
            Matrix x = Matrix.allocate(arena, tokens, inFeatures);
            for (int token = 0; token < tokens; token++) {
                for (int i = 0; i < inFeatures; i++) {
                    x.set(token, i, (float) random.nextDouble(-1, 1));
                }
                rows.prepare(x.segment(), x.rowOffset(token), prepared, token * length);
            }
            Matrix frame = Matrix.allocate(arena, tokens, outFeatures + 2);
            frame.fill(7f);
            Matrix y = frame.columns(0, outFeatures);
            int middle = rows.pairs() / 2;
            rows.multiply(prepared, tokens, y, middle, rows.pairs());
            rows.multiply(prepared, tokens, y, 0, middle);
            float[] cold = frame.toArray();
            for (int token = 0; token < tokens; token++) {
                for (int row = 0; row < outFeatures; row++) {
                    double expected = 0;
                    for (int i = 0; i < inFeatures; i++) {
                        int group = i / (inFeatures / groups);
                        double w = (double) (code[row][i] & 0xFF) * factor[row][group] + offset[row][group];
                        expected += w * x.get(token, i);
                    }
                    // Halves of an ulp of a sum of terms below 2, a random walk.
                    double error = Math.abs(y.get(token, row) - expected);
                    assertThat(error).isLessThanOrEqualTo(2e-6 * (1 + Math.sqrt(inFeatures)));
                }
                assertThat(frame.get(token, outFeatures)).isEqualTo(7f);
            }
            for (int round = 0; round < 2_000; round++) {
                rows.multiply(prepared, tokens, y, 0, rows.pairs());
            }
            assertThat(frame.toArray()).isEqualTo(cold);
            assertThat(rows.bytes()).isPositive();
        }
    }

    @Test
    void refusesSizesItCannotLayOut() {
        assertThatThrownBy(() -> new GroupedByteRows(4, 100, 20, 0, true, null, (row, codes, factor, offset) -> {}))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("inFeatures 100 in groups of 20: not supported");
    }
}
