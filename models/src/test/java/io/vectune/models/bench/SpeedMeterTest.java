package io.vectune.models.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.compute.ThreadTeam;
import org.junit.jupiter.api.Test;

class SpeedMeterTest {
    @Test
    void measuresAgainstTheLimit() {
        try (ThreadTeam team = ThreadTeam.of(1);
                SpeedMeter meter = new SpeedMeter(team)) {
            SpeedResult product = meter.measure(SpeedSuite.product("f32", 64, 96, 160));
            assertThat(product.share()).isPositive().isLessThan(150);
            assertThat(product.spread()).isGreaterThanOrEqualTo(1);
            assertThat(product.unitsASecond()).isPositive();
            SpeedResult one = meter.measure(SpeedSuite.oneToken("q4_0", 64, 128));
            assertThat(one.limit()).isEqualTo(Limit.READ);
            assertThat(one.share()).isPositive();
        }
    }

    @Test
    void releasesAndPassesOnWhatFails() {
        int[] released = {0};
        SpeedCase failing =
                new SpeedCase(
                        "failing",
                        Limit.FMA,
                        "tokens",
                        (compute, arena) ->
                                new SpeedCase.Work(
                                        1,
                                        1,
                                        () -> {
                                            throw new IllegalStateException("broken");
                                        },
                                        () -> released[0]++));
        try (ThreadTeam team = ThreadTeam.of(1);
                SpeedMeter meter = new SpeedMeter(team)) {
            assertThatThrownBy(() -> meter.measure(failing)).hasMessage("broken");
            assertThat(released[0]).isEqualTo(1);
        }
    }

    @Test
    void namesAreUnique() {
        assertThat(SpeedSuite.all().stream().map(SpeedCase::name)).doesNotHaveDuplicates();
    }
}
