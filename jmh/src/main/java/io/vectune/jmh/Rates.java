package io.vectune.jmh;

import io.vectune.runtime.compute.MachineLimits;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/// Work a second, and its share of what the machine can do, measured in the same fork.
///
/// JMH divides each counter by the time of the iteration.
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

    /// Counts the work of one operation.
    public void add(KernelState state, double operations, double bytes) {
        MachineLimits limits = state.limits;
        gflops += 1e-9 * operations;
        gbytes += 1e-9 * bytes;
        fmaPercent += 1e-7 * operations / limits.fmaPeak(state.threads);
        readPercent += 1e-7 * bytes / limits.readBandwidth(state.threads);
    }
}
