package io.vectune.runtime.compute;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class MachineLimitsTest {
    @Test
    void measuresPlausibleRates() {
        try (ThreadTeam team = ThreadTeam.of(2)) {
            MachineLimits limits = MachineLimits.measure(team);
            assertThat(limits.threads()).isEqualTo(2);
            assertThat(limits.vectorBits()).isEqualTo(KernelTier.choice().vectorBits());
            for (int threads = 1; threads <= 2; threads++) {
                // From one scalar multiply-add every few cycles of a slow core to the fastest sockets there are.
                assertThat(limits.fmaPeak(threads)).isBetween(0.1, 100_000.0);
                assertThat(limits.readBandwidth(threads)).isBetween(0.1, 10_000.0);
                assertThat(limits.writeBandwidth(threads)).isBetween(0.1, 10_000.0);
            }
        }
    }
}
