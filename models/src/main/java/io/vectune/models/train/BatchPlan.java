package io.vectune.models.train;

import io.vectune.models.decoder.PassLimits;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.runtime.VectuneException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// Which rows each step sees: a pure function of the step, so that a resumed run goes on where it stopped.
///
/// Rows follow the file and wrap around; with shuffling each epoch has its own permutation, drawn from the seed. Not
/// thread-safe.
public final class BatchPlan {
    private final List<TokenRow> rows;
    private final int batchSize;
    private final int accumulation;
    private final RowOrder order;

    /// @param batchSize rows of one micro-batch
    /// @param accumulation micro-batches of one step
    /// @throws IllegalArgumentException if there is no row with a label, or a step would have none
    public BatchPlan(List<TokenRow> rows, int batchSize, int accumulation, boolean shuffle, long seed) {
        if (batchSize < 1 || accumulation < 1) {
            throw new IllegalArgumentException(
                    "batch size and accumulation: expected at least 1, found " + batchSize + " and " + accumulation);
        }
        if (rows.stream().noneMatch(TokenRow::isLabelled)) {
            throw new IllegalArgumentException(
                    "training data: expected at least one row with a labelled token, found none in "
                            + rows.size()
                            + " rows");
        }
        this.rows = List.copyOf(rows);
        this.batchSize = batchSize;
        this.accumulation = accumulation;
        this.order = new RowOrder(this.rows.size(), shuffle, seed);
    }

    /// The micro-batches of a step, 0 for the first one.
    public List<SequenceBatch> step(long step) {
        List<SequenceBatch> batches = new ArrayList<>();
        long next = Math.multiplyExact(step, (long) batchSize * accumulation);
        for (int micro = 0; micro < accumulation; micro++) {
            List<int[]> ids = new ArrayList<>();
            List<int[]> labels = new ArrayList<>();
            for (int row = 0; row < batchSize; row++) {
                TokenRow chosen = rows.get(order.row(next++));
                ids.add(chosen.ids());
                labels.add(chosen.labels());
            }
            batches.add(SequenceBatch.of(ids, labels));
        }
        return batches;
    }

    /// Rows of one step.
    public int rowsPerStep() {
        return Math.multiplyExact(batchSize, accumulation);
    }

    /// What decides which tokens each step sees, by name: the content of the rows and how they are drawn.
    Map<String, String> settings() {
        int hash = 1;
        for (TokenRow row : rows) {
            hash = 31 * (31 * hash + Arrays.hashCode(row.ids())) + Arrays.hashCode(row.labels());
        }
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("data", String.format(Locale.ROOT, "%08x", hash));
        settings.put("order", order.description());
        settings.put("rows of a step", accumulation + " x " + batchSize);
        return settings;
    }

    /// The largest micro-batch that can come.
    public PassLimits limits() {
        int[] lengths = rows.stream().mapToInt(row -> row.ids().length).sorted().toArray();
        int longest = lengths[lengths.length - 1];
        long tokens = 0;
        for (int taken = 0; taken < batchSize; taken++) {
            // A batch can hold a row twice where it wraps around; then the longest rows come again.
            tokens += lengths[lengths.length - 1 - taken % lengths.length];
        }
        if (tokens > Integer.MAX_VALUE) {
            throw new VectuneException(
                    "a batch of "
                            + batchSize
                            + " rows has up to "
                            + tokens
                            + " tokens, expected at most "
                            + Integer.MAX_VALUE
                            + "; use fewer rows a batch and accumulate");
        }
        return new PassLimits((int) tokens, longest);
    }

    /// Mean tokens of one step.
    public double meanTokensPerStep() {
        return rows.stream().mapToInt(row -> row.ids().length).average().orElse(0) * rowsPerStep();
    }
}
