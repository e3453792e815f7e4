package io.vectune.jmh;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class ForkRecordTest {
    @Test
    void countsProcessorTimeOfALongOperationButNeverLessThanHalfTheWallTime() {
        assertThat(ForkRecord.nanosOfLong(10_000_000, 7_000_000)).isEqualTo(7_000_000);
        assertThat(ForkRecord.nanosOfLong(10_000_000, 0)).isEqualTo(5_000_000);
        assertThat(ForkRecord.nanosOfLong(10_000_000, -3)).isEqualTo(5_000_000);
        assertThat(ForkRecord.nanosOfLong(10_000_000, 10_000_400)).isEqualTo(10_000_000);
    }
}
