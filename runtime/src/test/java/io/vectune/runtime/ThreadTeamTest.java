package io.vectune.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.compute.ThreadTeam;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.LongAdder;
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

    @Test
    void worksOnAfterAUnitThrew() {
        try (ThreadTeam team = ThreadTeam.of(3)) {
            for (int round = 0; round < 50; round++) {
                assertThatThrownBy(() ->
                                team.run(
                                        64,
                                        1,
                                        (from, to, worker) -> {
                                            throw new AssertionError("unit " + from);
                                        }))
                        .isInstanceOf(AssertionError.class)
                        .hasMessageStartingWith("unit ");
                LongAdder units = new LongAdder();
                team.run(64, 1, (from, to, worker) -> units.add(to - from));
                assertThat(units.sum()).isEqualTo(64);
            }
        }
    }

    /// A region inside a region keeps the scratch of its thread, however few units it has.
    @Test
    void nestedRegionsRunAsTheThreadTheyAreOn() throws InterruptedException {
        try (ThreadTeam team = ThreadTeam.of(2)) {
            CountDownLatch bothRun = new CountDownLatch(2);
            AtomicInteger strangers = new AtomicInteger();
            AtomicIntegerArray seen = new AtomicIntegerArray(2);
            team.run(
                    2,
                    1,
                    (from, to, worker) -> {
                        bothRun.countDown();
                        await(bothRun);
                        for (int count : new int[] {1, 4, 100}) {
                            team.run(
                                    count,
                                    4,
                                    (innerFrom, innerTo, inner) -> strangers.addAndGet(inner == worker ? 0 : 1));
                        }
                        seen.incrementAndGet(worker);
                    });
            assertThat(seen.get(0)).isEqualTo(1);
            assertThat(seen.get(1)).isEqualTo(1);
            assertThat(strangers.get()).isZero();
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            assertThat(latch.await(10, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void countsToTheLargestInteger() {
        try (ThreadTeam team = ThreadTeam.of(3)) {
            LongAdder units = new LongAdder();
            AtomicInteger wrong = new AtomicInteger();
            team.run(
                    Integer.MAX_VALUE,
                    1,
                    (from, to, worker) -> {
                        wrong.addAndGet(from < 0 || to <= from ? 1 : 0);
                        units.add((long) to - from);
                    });
            assertThat(wrong.get()).isZero();
            assertThat(units.sum()).isEqualTo(Integer.MAX_VALUE);
        }
    }

    @Test
    void callersTakeTurns() throws InterruptedException, ExecutionException {
        try (ThreadTeam team = ThreadTeam.of(2);
                ExecutorService callers = Executors.newFixedThreadPool(2)) {
            // Not atomic on purpose: within a region each unit is one thread's alone.
            int[][] sums = new int[2][256];
            List<Future<?>> done = new ArrayList<>();
            for (int[] sum : sums) {
                done.add(
                        callers.submit(() -> {
                            for (int round = 0; round < 500; round++) {
                                team.run(
                                        sum.length,
                                        1,
                                        (from, to, worker) -> {
                                            for (int unit = from; unit < to; unit++) {
                                                sum[unit]++;
                                            }
                                        });
                            }
                        }));
            }
            for (Future<?> each : done) {
                each.get();
            }
            assertThat(sums[0]).containsOnly(500);
            assertThat(sums[1]).containsOnly(500);
        }
    }

    @Test
    void closesTwiceAndRefusesWorkThen() {
        ThreadTeam team = ThreadTeam.of(2);
        team.run(8, 1, (from, to, worker) -> {});
        team.close();
        team.close();
        assertThatThrownBy(() -> team.run(8, 1, (from, to, worker) -> {}))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("the thread team is closed");
        assertThatThrownBy(() -> ThreadTeam.of(0)).hasMessage("threads: expected at least 1, found 0");
    }
}
