package io.vectune.runtime.compute;

import java.util.Arrays;

/// What one session computes with: the shared thread team, scratch of its own.
///
/// Not for use by two threads at once: each session (a request, a trainer) opens its own, over one team and one model.
public final class Compute implements AutoCloseable {
    private static final int SLOTS = 8;

    private final ThreadTeam team;
    private final float[][] scratch;
    private final Workspace workspace = new Workspace();

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

    /// Frees the workspace; the team stays.
    @Override
    public void close() {
        workspace.close();
    }
}
