package io.vectune.quant.lanes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PairedRowsTest {
    @ParameterizedTest
    @CsvSource({
        "1, 64, 64, 16, true",
        "2, 64, 32, 16, false",
        "7, 128, 32, 16, true",
        "33, 576, 32, 16, true",
        "40, 576, 64, 16, false",
        "40, 576, 64, 2, true",
        "5, 1024, 128, 4, true",
        "6, 960, 96, 8, true"
    })
    void multipliesAsItsDefinition(int outFeatures, int inFeatures, int groupColumns, int codes, boolean offsets) {
        assumeTrue(KernelTier.active() == KernelTier.VECTOR && PairedRows.supports(inFeatures, groupColumns));
        int columns = groupColumns % 64 == 0 ? 64 : 32;
        RowsOfGroups groups =
                RowsOfGroups.random(outFeatures, inFeatures, inFeatures / columns, codes, codes / 2, offsets);
        PairedRows rows = new PairedRows(outFeatures, inFeatures, groupColumns, codes / 2, offsets, groups);
        assertThat(rows.groupColumns()).isEqualTo(columns);
        groups.check(rows);
    }

    @Test
    void constantGroupsOfZeroAddNothing() {
        assumeTrue(KernelTier.active() == KernelTier.VECTOR && PairedRows.supports(128, 64));
        PairedRows rows =
                new PairedRows(
                        2,
                        128,
                        64,
                        8,
                        true,
                        (row, codes, factor, offset) -> {
                            Arrays.fill(codes, (byte) 5);
                            Arrays.fill(factor, 1f);
                            Arrays.fill(offset, -5f);
                        });
        try (Arena arena = Arena.ofConfined()) {
            Matrix x = Matrix.allocate(arena, 1, 128);
            x.fill(0.1f);
            float[] prepared = new float[rows.preparedLength()];
            rows.prepare(x.segment(), x.rowOffset(0), prepared, 0);
            Matrix y = Matrix.allocate(arena, 1, 2);
            y.fill(7f);
            rows.multiply(prepared, 1, y, 0, 1);
            assertThat(y.toArray()).containsExactly(0f, 0f);
        }
    }

    @Test
    void refusesSizesItCannotLayOut() {
        assertThatThrownBy(() -> new PairedRows(4, 100, 32, 8, true, (row, codes, factor, offset) -> {}))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("inFeatures 100 in groups of 32: not supported");
    }
}
