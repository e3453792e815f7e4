package io.vectune.runtime.compute;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Function;

/// What one session computes with: the shared thread team, scratch of its own.
///
/// Not for use by two threads at once: each session (a request, a trainer) opens its own, over one team and one model.
public final class Compute implements AutoCloseable {
    private static final int SLOTS = 8;

    private final ThreadTeam team;
    private final float[][] scratch;
    private final Workspace workspace = new Workspace();
    private final Map<Class<?>, Object> resources = new HashMap<>();

    public Compute(ThreadTeam team) {
        this.team = team;
        this.scratch = new float[team.size() * SLOTS][];
        Arrays.fill(scratch, new float[0]);
    }

    /// The team; shared, not owned.
    public ThreadTeam team() {
        return team;
    }

    /// Temporary matrices of this session.
    public Workspace workspace() {
        return workspace;
    }

    /// A scratch array of a worker, at least `minLength` long, content undefined, kept for the next call.
    ///
    /// @param slot 0 to 7: arrays in use at the same time by one worker
    public float[] scratch(int worker, int slot, int minLength) {
        int at = worker * SLOTS + slot;
        float[] array = scratch[at];
        if (array.length < minLength) {
            array = new float[minLength];
            scratch[at] = array;
        }
        return array;
    }

    /// The one object of a type that this session keeps, created at the first call: the reusable jobs and buffers of a
    /// kernel family, so that its calls allocate nothing. A type has one owner: keep it private to the family.
    public synchronized <T> T resource(Class<T> type, Function<Compute, T> create) {
        Object resource = resources.get(type);
        if (resource == null) {
            T created = create.apply(this);
            resources.put(type, created);
            return created;
        }
        return type.cast(resource);
    }

    /// Frees the workspace; the team stays.
    @Override
    public void close() {
        workspace.close();
    }
}
