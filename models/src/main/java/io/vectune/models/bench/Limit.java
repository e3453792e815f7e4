package io.vectune.models.bench;

import io.vectune.runtime.compute.LimitProbe;
import java.util.Locale;

/// What bounds a piece of work.
public enum Limit {
    /// f32 fused multiply-adds, GFLOP/s.
    FMA,
    /// Reads from memory, GB/s.
    READ;

    /// How files name it.
    public String key() {
        return name().toLowerCase(Locale.ROOT);
    }

    /// Measures it.
    double measure(LimitProbe probe, long nanos) {
        return this == FMA ? probe.fmaPeak(nanos) : probe.readBandwidth(nanos);
    }
}
