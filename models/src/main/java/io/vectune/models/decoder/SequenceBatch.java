package io.vectune.models.decoder;

import io.vectune.adapters.CallOptions;
import io.vectune.adapters.RowGroups;
import io.vectune.adapters.Steering;
import io.vectune.runtime.nn.CrossEntropy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// Rows of tokens with their targets, one after the other without padding.
///
/// A row that other libraries pad on the right gives the same results here: causal attention keeps padding out of the
/// real tokens, and padding has no label.
public final class SequenceBatch {
    /// Consecutive rows of the same length.
    ///
    /// @param from the first token
    /// @param rows how many rows
    /// @param length tokens of each
    record Run(int from, int rows, int length) {}

    private final int[] tokens;
    private final int[] targets;
    private final int[] positions;
    private final List<Run> runs;
    private final int rows;
    private final int longestRow;
    private final int labelledTokens;
    private final CallOptions options;

    private SequenceBatch(int[] tokens, int[] targets, int[] positions, List<Run> runs, CallOptions options) {
        this.options = options;
        this.tokens = tokens;
        this.targets = targets;
        this.positions = positions;
        this.runs = List.copyOf(runs);
        this.rows = runs.stream().mapToInt(Run::rows).sum();
        this.longestRow = runs.stream().mapToInt(Run::length).max().orElse(0);
        this.labelledTokens = (int) Arrays.stream(targets).filter(target -> target != CrossEntropy.IGNORED).count();
    }

    /// A batch of rows with labels as transformers has them: the label of a token is that token or -100; they are
    /// shifted by one here, so that each token is asked for the label of the next one.
    ///
    /// @param rows token ids, without padding, no row empty
    /// @param labels as long as their rows
    public static SequenceBatch of(List<int[]> rows, List<int[]> labels) {
        if (rows.isEmpty() || rows.size() != labels.size()) {
            throw new IllegalArgumentException(
                    "batch: expected as many rows of labels as of tokens and at least one, found "
                            + labels.size()
                            + " and "
                            + rows.size());
        }
        int count = 0;
        for (int[] row : rows) {
            count = Math.addExact(count, row.length);
        }
        int[] tokens = new int[count];
        int[] targets = new int[count];
        int[] positions = new int[count];
        List<Run> runs = new ArrayList<>();
        int at = 0;
        for (int index = 0; index < rows.size(); index++) {
            int[] row = rows.get(index);
            int[] label = labels.get(index);
            if (row.length == 0 || label.length != row.length) {
                throw new IllegalArgumentException(
                        "row "
                                + index
                                + ": expected at least one token and as many labels, found "
                                + row.length
                                + " tokens and "
                                + label.length
                                + " labels");
            }
            System.arraycopy(row, 0, tokens, at, row.length);
            System.arraycopy(label, 1, targets, at, row.length - 1);
            targets[at + row.length - 1] = CrossEntropy.IGNORED;
            for (int t = 0; t < row.length; t++) {
                positions[at + t] = t;
            }
            Run last = runs.isEmpty() ? null : runs.getLast();
            if (last != null && last.length == row.length) {
                runs.set(runs.size() - 1, new Run(last.from, last.rows + 1, last.length));
            } else {
                runs.add(new Run(at, 1, row.length));
            }
            at += row.length;
        }
        return new SequenceBatch(tokens, targets, positions, runs, CallOptions.INFERENCE);
    }

    /// The same batch with rows that use different adapters of a mixed set, or none.
    ///
    /// @param adapterOfRow index of each row's adapter in the set, or [RowGroups#BASE]
    public SequenceBatch withAdapters(int... adapterOfRow) {
        requireOneEach("adapters", adapterOfRow.length);
        List<RowGroups.Run> groups = new ArrayList<>();
        int[] lengths = rowLengths();
        int from = 0;
        for (int row = 0; row < rows; row++) {
            int to = from + lengths[row];
            RowGroups.Run last = groups.isEmpty() ? null : groups.getLast();
            if (last != null && last.adapter() == adapterOfRow[row]) {
                groups.set(groups.size() - 1, new RowGroups.Run(last.from(), to, last.adapter()));
            } else {
                groups.add(new RowGroups.Run(from, to, adapterOfRow[row]));
            }
            from = to;
        }
        return new SequenceBatch(tokens, targets, positions, runs, options.withGroups(new RowGroups(groups)));
    }

    /// The same batch with a steering coefficient for each row.
    public SequenceBatch withSteering(float... coefficientOfRow) {
        requireOneEach("steering coefficients", coefficientOfRow.length);
        float[] coefficients = new float[tokens.length];
        int[] lengths = rowLengths();
        int from = 0;
        for (int row = 0; row < rows; row++) {
            Arrays.fill(coefficients, from, from + lengths[row], coefficientOfRow[row]);
            from += lengths[row];
        }
        return new SequenceBatch(tokens, targets, positions, runs, options.withSteering(Steering.ofRows(coefficients)));
    }

    private void requireOneEach(String what, int found) {
        if (found != rows) {
            throw new IllegalArgumentException(what + ": expected one for each of " + rows + " rows, found " + found);
        }
    }

    private int[] rowLengths() {
        int[] lengths = new int[rows];
        int row = 0;
        for (Run run : runs) {
            Arrays.fill(lengths, row, row + run.rows, run.length);
            row += run.rows;
        }
        return lengths;
    }

    /// Tokens of all rows together.
    public int tokens() {
        return tokens.length;
    }

    /// Number of rows.
    public int rows() {
        return rows;
    }

    /// Tokens of the longest row.
    public int longestRow() {
        return longestRow;
    }

    /// Tokens that have a target: what the mean loss is taken over.
    public int labelledTokens() {
        return labelledTokens;
    }

    CallOptions options() {
        return options;
    }

    int[] tokenIds() {
        return tokens;
    }

    int[] targets() {
        return targets;
    }

    int[] positions() {
        return positions;
    }

    List<Run> runs() {
        return runs;
    }
}
