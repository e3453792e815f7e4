package io.vectune.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.compute.ThreadTeam;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;

class ThreadTeamTest {
    @Test
    void runsEachUnitOnce() {
        try (ThreadTeam team = ThreadTeam.of(3)) {
            for (int count : new int[] {1, 2, 3, 7, 100, 1021}) {
                AtomicIntegerArray seen = new AtomicIntegerArray(count);
                team.run(
                        count,
                        1,
                        (from, to, worker) -> {
                            for (int unit = from; unit < to; unit++) {
                                seen.incrementAndGet(unit);
                            }
                        });
                for (int unit = 0; unit < count; unit++) {
                    assertThat(seen.get(unit)).isEqualTo(1);
                }
            }
        }
    }

    @Test
    void rethrowsWhatAUnitThrows() {
        try (ThreadTeam team = ThreadTeam.of(2)) {
            assertThatThrownBy(() ->
                            team.run(
                                    10,
                                    1,
                                    (from, to, worker) -> {
                                        if (from <= 7 && 7 < to) {
                                            throw new IllegalArgumentException("unit 7");
                                        }
                                    }))
                    .hasMessage("unit 7");
        }
    }
}
