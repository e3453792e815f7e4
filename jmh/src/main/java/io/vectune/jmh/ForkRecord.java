package io.vectune.jmh;

import com.sun.management.ThreadMXBean;
import io.vectune.runtime.compute.LimitProbe;
import java.lang.management.ManagementFactory;
import org.jspecify.annotations.Nullable;

/// What this fork has shown so far: its limits, its best operation, and what an operation allocates.
///
/// Limits and operations are both the best of many, since a disturbance only ever makes them slower; the limits are
/// measured again before and after every iteration.
///
/// An operation is timed by the wall clock, of which some of many short operations see no disturbance. A long one of
/// one thread may never run undisturbed: it is timed by the processor time of the thread, which does not run while
/// another process has the core. Under a hypervisor that clock can stand still for microseconds (time taken from the
/// machine is subtracted late), so it says nothing about a short operation, and never less than half of the wall time
/// counts.
///
/// One a process, because JMH gives a profiler no way to the state of a benchmark. The measuring thread writes, JMH's
/// own thread reads between iterations.
public final class ForkRecord {
    private static final long PROBE_NANOS = 12_000_000L;
    private static final long LONG_OPERATION_NANOS = 2_000_000L;
    private static final ForkRecord CURRENT = new ForkRecord();
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private @Nullable LimitProbe probe;
    private boolean oneThread;
    private double fmaPeak;
    private double readBandwidth;

    private long beganNanos;
    private long beganProcessorNanos;
    private long beganBytes;
    private long bestNanos;
    private long bestReferenceNanos;
    private double bestOperations;
    private double bestBytes;
    private long iterationOperations;
    private long iterationBytes;
    private double leastBytesAnOperation;

    private ForkRecord() {}

    /// The record of this process.
    static ForkRecord current() {
        return CURRENT;
    }

    /// Begins a record.
    static void open(LimitProbe probe, int threads) {
        CURRENT.probe = probe;
        CURRENT.oneThread = threads == 1;
        CURRENT.fmaPeak = 0;
        CURRENT.readBandwidth = 0;
        CURRENT.forgetOperations();
        CURRENT.probe();
    }

    /// Stops probing; what was found stays readable.
    static void close() {
        CURRENT.probe = null;
    }

    /// Measures the limits once more.
    void probe() {
        LimitProbe here = probe;
        if (here != null) {
            fmaPeak = Math.max(fmaPeak, here.fmaPeak(PROBE_NANOS));
            readBandwidth = Math.max(readBandwidth, here.readBandwidth(PROBE_NANOS));
        }
    }

    /// An iteration starts.
    void startIteration() {
        iterationOperations = 0;
        iterationBytes = 0;
    }

    /// An iteration is over.
    void endIteration() {
        if (iterationOperations > 0) {
            leastBytesAnOperation = Math.min(leastBytesAnOperation, (double) iterationBytes / iterationOperations);
        }
    }

    /// What was measured so far was warm-up.
    void forgetOperations() {
        bestNanos = Long.MAX_VALUE;
        bestReferenceNanos = Long.MAX_VALUE;
        bestOperations = 0;
        bestBytes = 0;
        leastBytesAnOperation = Double.POSITIVE_INFINITY;
    }

    /// An operation begins.
    void begin() {
        beganBytes = THREADS.getCurrentThreadAllocatedBytes();
        beganProcessorNanos = oneThread ? THREADS.getCurrentThreadCpuTime() : 0;
        beganNanos = System.nanoTime();
    }

    /// The operation ends.
    ///
    /// @param operations floating-point operations that it did
    /// @param bytes that had to move
    void end(double operations, double bytes) {
        long nanos = elapsed();
        iterationBytes += THREADS.getCurrentThreadAllocatedBytes() - beganBytes;
        iterationOperations++;
        if (nanos < bestNanos) {
            bestNanos = nanos;
            bestOperations = operations;
            bestBytes = bytes;
        }
    }

    /// An operation ends that is the reference of the measured one.
    void endReference() {
        bestReferenceNanos = Math.min(bestReferenceNanos, elapsed());
    }

    /// GFLOP/s.
    double fmaPeak() {
        return fmaPeak;
    }

    /// GB/s.
    double readBandwidth() {
        return readBandwidth;
    }

    /// Whether an operation was recorded.
    boolean hasOperations() {
        return bestNanos < Long.MAX_VALUE;
    }

    /// Operations a second.
    double rate() {
        return 1e9 / bestNanos;
    }

    /// Percent of the multiply-add peak that the best operation reached.
    double fmaPercent() {
        return 100 * bestOperations / bestNanos / fmaPeak;
    }

    /// Percent of the read bandwidth that the best operation reached.
    double readPercent() {
        return 100 * bestBytes / bestNanos / readBandwidth;
    }

    /// Speed in percent of that of the reference; NaN without one.
    double referencePercent() {
        return bestReferenceNanos == Long.MAX_VALUE ? Double.NaN : 100.0 * bestReferenceNanos / bestNanos;
    }

    /// Bytes that the calling thread allocates an operation, in the iteration with the fewest.
    double bytesAnOperation() {
        return leastBytesAnOperation;
    }

    private long elapsed() {
        long wall = Math.max(1, System.nanoTime() - beganNanos);
        if (!oneThread || wall < LONG_OPERATION_NANOS) {
            return wall;
        }
        return nanosOfLong(wall, THREADS.getCurrentThreadCpuTime() - beganProcessorNanos);
    }

    /// The time of a long operation from both clocks: nanoseconds.
    static long nanosOfLong(long wall, long processor) {
        return Math.clamp(processor, wall / 2, wall);
    }
}
