package io.vectune.cli;

import io.vectune.models.data.DataSet;
import io.vectune.models.train.BatchPlan;
import io.vectune.runtime.VectuneException;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// How many steps a run has and which rows they take.
final class StepOptions {
    private static final int MOST_ROWS = 1 << 20;

    @Option(names = "--steps", paramLabel = "N", description = "Optimizer steps (default: once through the data).")
    private @Nullable Integer steps;

    @Option(
            names = "--batch-size",
            paramLabel = "N",
            defaultValue = "4",
            description = "Rows of a batch (default: ${DEFAULT-VALUE}).")
    private int batchSize;

    @Option(
            names = "--accumulate",
            paramLabel = "N",
            defaultValue = "1",
            description = "Batches of a step (default: ${DEFAULT-VALUE}).")
    private int accumulate;

    @Option(names = "--no-shuffle", description = "Take the rows in the order of the file, again and again.")
    private boolean noShuffle;

    /// Whether each pass over the data has an order of its own.
    boolean shuffle() {
        return !noShuffle;
    }

    /// Rows of one optimizer step.
    ///
    /// @throws UsageException if there are none, or absurdly many
    int rows() {
        check();
        return batchSize * accumulate;
    }

    private void check() {
        if (batchSize < 1 || accumulate < 1) {
            throw new UsageException(
                    "--batch-size and --accumulate: expected at least 1, found " + batchSize + " and " + accumulate);
        }
        if ((long) batchSize * accumulate > MOST_ROWS) {
            throw new UsageException(
                    "--batch-size times --accumulate: expected at most "
                            + MOST_ROWS
                            + " rows a step, found "
                            + batchSize
                            + " x "
                            + accumulate);
        }
    }

    /// Optimizer steps of the run.
    ///
    /// @param dataRows rows of the data
    int total(int dataRows) {
        int total = steps == null ? Math.ceilDiv(dataRows, rows()) : steps;
        if (total < 1) {
            throw new UsageException("--steps: expected at least 1, found " + total);
        }
        return total;
    }

    /// The batches of the run.
    ///
    /// @throws VectuneException if the rows cannot be trained on
    BatchPlan batches(DataSet data, long seed) {
        check();
        try {
            return new BatchPlan(data.rows(), batchSize, accumulate, !noShuffle, seed);
        } catch (IllegalArgumentException unusable) {
            throw new VectuneException(data.origin() + ": " + unusable.getMessage(), unusable);
        }
    }
}
