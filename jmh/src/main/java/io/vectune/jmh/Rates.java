package io.vectune.jmh;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/// Work a second, and its share of what the machine can do, measured in the same fork.
///
/// JMH divides each counter by the time of the iteration. Each operation also goes into the [ForkRecord], which keeps
/// the best one.
@State(Scope.Thread)
@AuxCounters(AuxCounters.Type.OPERATIONS)
public class Rates {
    /// 10^9 floating-point operations.
    public double gflops;

    /// 10^9 bytes.
    public double gbytes;

    /// Percent of the multiply-add peak.
    public double fmaPercent;

    /// Percent of the read bandwidth.
    public double readPercent;

    /// The first operation of an iteration begins.
    @Setup(Level.Iteration)
    public void begin() {
        ForkRecord.current().begin();
    }

    /// Counts the work of the operation that ends here; the next one begins.
    public void add(KernelState state, double operations, double bytes) {
        ForkRecord record = ForkRecord.current();
        record.end(operations, bytes);
        gflops += 1e-9 * operations;
        gbytes += 1e-9 * bytes;
        fmaPercent += 1e-7 * operations / record.fmaPeak();
        readPercent += 1e-7 * bytes / record.readBandwidth();
        record.begin();
    }

    /// The reference of the operation ends, which began when that was counted; the next operation begins.
    public void endReference() {
        ForkRecord record = ForkRecord.current();
        record.endReference();
        record.begin();
    }
}
