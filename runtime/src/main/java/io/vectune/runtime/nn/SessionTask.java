package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Function;

/// The work of one family of kernels, as an object that a session keeps: its fields are set before a region and read by
/// the region's workers, so that a call allocates nothing.
///
/// A session runs one call of a family at a time. One inside a parallel region of the same session finds the task taken
/// and gets its own.
abstract class SessionTask implements ThreadTeam.Task {
    /// Stands for a matrix while no call runs.
    static final Matrix NONE = Matrix.allocate(Arena.global(), 1, 1);

    private final AtomicBoolean taken = new AtomicBoolean();

    /// The session's task of a type, taken until [#release].
    ///
    /// @param create captures nothing
    static <T extends SessionTask> T take(Compute compute, Class<T> type, Function<Compute, T> create) {
        T own = compute.resource(type, create);
        if (((SessionTask) own).taken.compareAndSet(false, true)) {
            return own;
        }
        T spare = create.apply(compute);
        ((SessionTask) spare).taken.set(true);
        return spare;
    }

    /// Makes the task free for the next call.
    final void release() {
        taken.set(false);
    }
}
