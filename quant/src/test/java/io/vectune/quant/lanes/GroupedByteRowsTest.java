package io.vectune.quant.lanes;

import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.vectune.runtime.compute.KernelTier;
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
        RowsOfGroups groups =
                RowsOfGroups.random(
                        outFeatures, inFeatures, inFeatures / Math.min(64, groupColumns), codes, center, offsets);
        groups.check(
                new GroupedByteRows(
                        outFeatures,
                        inFeatures,
                        groupColumns,
                        center,
                        offsets,
                        stored ? groups.stored() : null,
                        groups));
    }

    @Test
    void refusesSizesItCannotLayOut() {
        assertThatThrownBy(() -> new GroupedByteRows(4, 100, 20, 0, true, null, (row, codes, factor, offset) -> {}))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("inFeatures 100 in groups of 20: not supported");
    }
}
