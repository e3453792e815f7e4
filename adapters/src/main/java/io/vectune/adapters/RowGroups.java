package io.vectune.adapters;

import java.util.ArrayList;
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

    /// The groups of some of the rows, put together in their order.
    ///
    /// @param rows ascending
    /// @throws IndexOutOfBoundsException if the groups do not cover one of them
    public RowGroups select(int[] rows) {
        List<Run> selected = new ArrayList<>();
        int run = 0;
        for (int index = 0; index < rows.length; index++) {
            while (rows[index] >= runs.get(run).to()) {
                run++;
            }
            Run last = selected.isEmpty() ? null : selected.getLast();
            int adapter = runs.get(run).adapter();
            if (last != null && last.adapter() == adapter) {
                selected.set(selected.size() - 1, new Run(last.from(), index + 1, adapter));
            } else {
                selected.add(new Run(index, index + 1, adapter));
            }
        }
        return new RowGroups(selected);
    }

    /// The number of rows covered.
    public int rows() {
        return runs.isEmpty() ? 0 : runs.getLast().to();
    }
}
