package io.vectune.runtime.compute;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class LimitProbeTest {
    @Test
    void measuresAgainAndAgain() {
        try (ThreadTeam team = ThreadTeam.of(2);
                LimitProbe probe = new LimitProbe(team)) {
            for (int round = 0; round < 3; round++) {
                // From one scalar multiply-add every few cycles of a slow core to the fastest sockets there are.
                assertThat(probe.fmaPeak(1_000_000)).isBetween(0.1, 100_000.0);
                assertThat(probe.readBandwidth(1_000_000)).isBetween(0.1, 10_000.0);
                assertThat(probe.writeBandwidth(1_000_000)).isBetween(0.1, 10_000.0);
            }
        }
    }
}
