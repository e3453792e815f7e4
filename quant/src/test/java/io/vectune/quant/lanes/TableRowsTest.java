package io.vectune.quant.lanes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TableRowsTest {
    @ParameterizedTest
    @CsvSource({"1, 64, 64", "2, 64, 32", "7, 128, 64", "33, 576, 32", "40, 576, 64", "5, 1024, 128"})
    void multipliesAsItsDefinition(int outFeatures, int inFeatures, int groupColumns) {
        assumeTrue(KernelTier.active() == KernelTier.VECTOR && TableRows.supports(inFeatures, groupColumns));
        SplittableRandom random = new SplittableRandom(3);
        float[] base = new float[16];
        for (int code = 0; code < 16; code++) {
            base[code] = (float) random.nextDouble(-1, 1);
        }
        int columns = groupColumns % 64 == 0 ? 64 : 32;
        int groups = inFeatures / columns;
        byte[][] codes = new byte[outFeatures][inFeatures];
        float[][] factor = new float[outFeatures][groups];
        float[][] offset = new float[outFeatures][groups];
        for (int row = 0; row < outFeatures; row++) {
            for (int i = 0; i < inFeatures; i++) {
                codes[row][i] = (byte) random.nextInt(16);
            }
            for (int group = 0; group < groups; group++) {
                factor[row][group] = (float) random.nextDouble(-1, 1);
                offset[row][group] = (float) random.nextDouble(-1, 1);
            }
        }
        TableRows rows =
                new TableRows(
                        outFeatures,
                        inFeatures,
                        groupColumns,
                        base,
                        (row, rowCodes, rowFactor, rowOffset) -> {
                            System.arraycopy(codes[row], 0, rowCodes, 0, inFeatures);
                            System.arraycopy(factor[row], 0, rowFactor, 0, groups);
                            System.arraycopy(offset[row], 0, rowOffset, 0, groups);
                        });
        assertThat(rows.groupColumns()).isEqualTo(columns);
        int tokens = 3;
        float[] x = new float[tokens * inFeatures];
        for (int i = 0; i < x.length; i++) {
            x[i] = (float) random.nextDouble(-1, 1);
        }
        try (Arena arena = Arena.ofConfined()) {
            Matrix frame = Matrix.allocate(arena, tokens, outFeatures + 2);
            frame.fill(7f);
            Matrix y = frame.columns(0, outFeatures);
            int middle = rows.pairs() / 2;
            rows.multiply(x, tokens, y, middle, rows.pairs());
            rows.multiply(x, tokens, y, 0, middle);
            float[] cold = frame.toArray();
            for (int token = 0; token < tokens; token++) {
                for (int row = 0; row < outFeatures; row++) {
                    double expected = 0;
                    for (int i = 0; i < inFeatures; i++) {
                        double w = (double) base[codes[row][i]] * factor[row][i / columns] + offset[row][i / columns];
                        expected += w * x[token * inFeatures + i];
                    }
                    // Halves of an ulp of a sum of terms below 2, a random walk.
                    double error = Math.abs(y.get(token, row) - expected);
                    assertThat(error <= 2e-6 * (1 + Math.sqrt(inFeatures))).isTrue();
                }
                assertThat(frame.get(token, outFeatures)).isEqualTo(7f);
            }
            for (int round = 0; round < 2_000; round++) {
                rows.multiply(x, tokens, y, 0, rows.pairs());
            }
            assertThat(frame.toArray()).isEqualTo(cold);
        }
    }

    @Test
    void refusesSizesItCannotLayOut() {
        assertThatThrownBy(() -> new TableRows(4, 100, 64, TableRows.integers(), (row, codes, factor, offset) -> {}))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("inFeatures 100 in groups of 64: not supported");
    }
}
