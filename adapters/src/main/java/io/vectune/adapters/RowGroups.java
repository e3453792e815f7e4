package io.vectune.adapters;

import java.util.List;

/// Which rows of a mixed batch use which adapter: consecutive runs of rows that together cover the batch.
///
/// @param runs in order of the rows
public record RowGroups(List<Run> runs) {
    /// No groups: the call is not a mixed batch.
    public static final RowGroups NONE = new RowGroups(List.of());

    /// Rows `[from, to)` use the adapter of that index, or the base alone for [#BASE].
    public record Run(int from, int to, int adapter) {}

    /// The index that means: no adapter.
    public static final int BASE = -1;

    public RowGroups {
        runs = List.copyOf(runs);
        int next = 0;
        for (Run run : runs) {
            if (run.from() != next || run.to() <= run.from() || run.adapter() < BASE) {
                throw new IllegalArgumentException(
                        "row groups: expected consecutive runs from row " + next + ", found " + run);
            }
            next = run.to();
        }
    }

    /// The number of rows covered.
    public int rows() {
        return runs.isEmpty() ? 0 : runs.getLast().to();
    }
}
