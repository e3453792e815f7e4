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

class PairedRowsTest {
    @ParameterizedTest
    @CsvSource({"1, 64, true", "2, 64, false", "7, 128, true", "33, 576, true", "40, 576, false", "5, 1024, true"})
    void multipliesAsItsDefinition(int outFeatures, int inFeatures, boolean offsets) {
        assumeTrue(KernelTier.active() == KernelTier.VECTOR && PairedRows.supports(inFeatures));
        SplittableRandom random = new SplittableRandom(3);
        int groups = inFeatures / PairedRows.GROUP;
        byte[][] codes = new byte[outFeatures][inFeatures];
        float[][] factor = new float[outFeatures][groups];
        float[][] offset = new float[outFeatures][groups];
        for (int row = 0; row < outFeatures; row++) {
            for (int i = 0; i < inFeatures; i++) {
                codes[row][i] = (byte) random.nextInt(16);
            }
            for (int group = 0; group < groups; group++) {
                factor[row][group] = (float) random.nextDouble(-0.1, 0.1);
                offset[row][group] = offsets ? (float) random.nextDouble(-1, 1) : -8 * factor[row][group];
            }
        }
        PairedRows rows =
                new PairedRows(
                        outFeatures,
                        inFeatures,
                        offsets,
                        (row, rowCodes, rowFactor, rowOffset) -> {
                            System.arraycopy(codes[row], 0, rowCodes, 0, inFeatures);
                            System.arraycopy(factor[row], 0, rowFactor, 0, groups);
                            System.arraycopy(offset[row], 0, rowOffset, 0, groups);
                        });
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
                        int group = i / PairedRows.GROUP;
                        double w = (double) codes[row][i] * factor[row][group] + offset[row][group];
                        expected += w * x.get(token, i);
                    }
                    // Halves of an ulp of a sum of terms below 2, a random walk.
                    double error = Math.abs(y.get(token, row) - expected);
                    assertThat(error <= 2e-6 * (1 + Math.sqrt(inFeatures))).isTrue();
                }
                assertThat(frame.get(token, outFeatures)).isEqualTo(7f);
            }
            for (int round = 0; round < 2_000; round++) {
                rows.multiply(prepared, tokens, y, 0, rows.pairs());
            }
            assertThat(frame.toArray()).isEqualTo(cold);
        }
    }

    @Test
    void refusesSizesItCannotLayOut() {
        assertThatThrownBy(() -> new PairedRows(4, 100, true, (row, codes, factor, offset) -> {}))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("inFeatures 100: not supported");
    }
}
