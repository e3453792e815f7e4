package io.vectune.runtime.compute;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/// A fixed team of platform threads that work through index ranges together with the caller.
///
/// One region runs at a time; a second caller waits for its turn, so that sessions share the cores instead of fighting
/// for them. Chunks are handed out dynamically; results stay deterministic because each unit writes only what is its
/// own and computes it in an order that does not depend on the chunk. A region inside a region runs inline.
public final class ThreadTeam implements AutoCloseable {
    /// Work on the units `[from, to)`.
    @FunctionalInterface
    public interface Task {
        /// @param worker index of the thread in the team, for scratch: 0 is the caller
        void run(int from, int to, int worker);
    }

    private static final int CHUNKS_PER_THREAD = 4;
    private static final int SPINS_BEFORE_PARK = 2_000;

    private final Worker[] workers;
    private final ReentrantLock regionLock = new ReentrantLock();
    // Wider than a unit: each thread steps past the end once.
    private final AtomicLong nextUnit = new AtomicLong();
    private final AtomicInteger pending = new AtomicInteger();

    // Region state: written by the caller before the volatile epoch, read by workers after it.
    private @Nullable Task task;
    private int units;
    private int chunk;
    private long regions;
    private volatile @Nullable Throwable failure;
    private volatile long epoch;
    private volatile boolean closed;
    private volatile @Nullable Thread caller;

    private ThreadTeam(int threads) {
        workers = new Worker[threads - 1];
        for (int index = 1; index < threads; index++) {
            workers[index - 1] = new Worker(index);
        }
        for (Worker worker : workers) {
            worker.start();
        }
    }

    /// A team of `threads` threads, the caller counted.
    ///
    /// @throws IllegalArgumentException if `threads` is below 1
    public static ThreadTeam of(int threads) {
        if (threads < 1) {
            throw new IllegalArgumentException("threads: expected at least 1, found " + threads);
        }
        return new ThreadTeam(threads);
    }

    /// A team of one thread a physical core that this process may use.
    public static ThreadTeam ofPhysicalCores() {
        return of(CpuTopology.usablePhysicalCores());
    }

    /// Number of threads, the caller counted.
    public int size() {
        return workers.length + 1;
    }

    /// Runs `body` over the units `[0, count)`, in chunks of at least `minChunk` units, and returns when all are done.
    ///
    /// @throws RuntimeException what a unit threw, rethrown here
    public void run(int count, int minChunk, Task body) {
        if (count <= 0) {
            return;
        }
        if (Thread.currentThread() instanceof Worker inner && inner.team() == this) {
            body.run(0, count, inner.index);
            return;
        }
        if (workers.length == 0 || count <= minChunk || regionLock.isHeldByCurrentThread()) {
            body.run(0, count, 0);
            return;
        }
        regionLock.lock();
        try {
            if (closed) {
                throw new IllegalStateException("the thread team is closed");
            }
            int chunks = CHUNKS_PER_THREAD * size();
            task = body;
            units = count;
            chunk = Math.max(minChunk, Math.ceilDiv(count, chunks));
            failure = null;
            nextUnit.set(0);
            pending.set(workers.length);
            caller = Thread.currentThread();
            regions++;
            epoch = regions;
            for (Worker worker : workers) {
                if (worker.parked) {
                    LockSupport.unpark(worker);
                }
            }
            work(0);
            for (int spins = 0; pending.get() != 0; spins++) {
                if (spins < SPINS_BEFORE_PARK) {
                    Thread.onSpinWait();
                } else {
                    LockSupport.parkNanos(this, 50_000);
                }
            }
            task = null;
            Throwable thrown = failure;
            if (thrown != null) {
                rethrow(thrown);
            }
        } finally {
            regionLock.unlock();
        }
    }

    private void work(int worker) {
        Task body = task;
        if (body == null) {
            return;
        }
        int count = units;
        int step = chunk;
        try {
            for (long from = nextUnit.getAndAdd(step); from < count; from = nextUnit.getAndAdd(step)) {
                body.run((int) from, (int) Math.min(count, from + step), worker);
            }
        } catch (Throwable thrown) {
            failure = thrown;
            nextUnit.set(count);
        }
    }

    private static void rethrow(Throwable thrown) {
        if (thrown instanceof RuntimeException runtime) {
            throw runtime;
        }
        if (thrown instanceof Error error) {
            throw error;
        }
        throw new IllegalStateException(thrown);
    }

    /// Ends the threads. Idempotent. Regions that run finish first.
    @Override
    public void close() {
        regionLock.lock();
        try {
            closed = true;
            for (Worker worker : workers) {
                LockSupport.unpark(worker);
            }
        } finally {
            regionLock.unlock();
        }
    }

    private final class Worker extends Thread {
        private final int index;
        private volatile boolean parked;

        private Worker(int index) {
            super("vectune-" + index);
            this.index = index;
            setDaemon(true);
        }

        private ThreadTeam team() {
            return ThreadTeam.this;
        }

        @Override
        public void run() {
            long seen = 0;
            while (true) {
                for (int spins = 0; epoch == seen && !closed; spins++) {
                    if (spins < SPINS_BEFORE_PARK) {
                        Thread.onSpinWait();
                    } else {
                        parked = true;
                        if (epoch == seen && !closed) {
                            LockSupport.park(ThreadTeam.this);
                        }
                        parked = false;
                    }
                }
                if (closed) {
                    return;
                }
                seen = epoch;
                work(index);
                if (pending.decrementAndGet() == 0) {
                    LockSupport.unpark(caller);
                }
            }
        }
    }
}
