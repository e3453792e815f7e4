package io.vectune.models.bench;

import io.vectune.runtime.compute.Compute;
import java.lang.foreign.Arena;

/// Something whose speed is measured.
///
/// @param name what reports and baselines call it
/// @param limit what bounds it
/// @param unit what it gets through, in the plural: `weights`, `tokens`
/// @param opener makes it ready
public record SpeedCase(String name, Limit limit, String unit, Opener opener) {
    /// Makes the operands, in memory of `arena`, and checks the result of one call.
    @FunctionalInterface
    public interface Opener {
        /// @throws IllegalStateException if what the call computed is wrong: a wrong result has no speed
        Work open(Compute compute, Arena arena);
    }

    /// A piece of work that can be done again and again.
    ///
    /// @param units of the case that one run gets through
    /// @param cost of one run in the unit of its limit: floating-point operations, or bytes that must be read
    /// @param run does it
    /// @param release frees what the arena does not
    public record Work(double units, double cost, Runnable run, Runnable release) implements AutoCloseable {
        /// Work whose memory all belongs to the arena.
        public Work(double units, double cost, Runnable run) {
            this(units, cost, run, () -> {});
        }

        @Override
        public void close() {
            release.run();
        }
    }
}
