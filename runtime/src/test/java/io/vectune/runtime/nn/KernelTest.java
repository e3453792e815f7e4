package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/// A session of three threads, one of a single thread, memory and numbers for each test.
abstract class KernelTest {
    protected final Arena arena = Arena.ofAuto();
    protected final Random random = new Random(20250922);
    protected Compute compute;
    protected Compute single;
    private ThreadTeam team;
    private ThreadTeam alone;

    @BeforeEach
    final void open() {
        team = ThreadTeam.of(3);
        alone = ThreadTeam.of(1);
        compute = new Compute(team);
        single = new Compute(alone);
    }

    @AfterEach
    final void close() {
        compute.close();
        single.close();
        team.close();
        alone.close();
    }
}
