package io.vectune.models.eval;

import io.vectune.adapters.Adapter;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.models.train.RowBatches;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.util.List;
import java.util.Map;
import java.util.function.IntConsumer;

/// What a model makes of rows.
///
/// @param loss mean over all labelled tokens
/// @param tokens labelled tokens
/// @param rows that have a labelled token
/// @param exactRows rows of which every labelled token is the most probable one: those that greedy generation gives
///   exactly
public record Evaluation(double loss, long tokens, int rows, int exactRows) {
    /// e to the loss.
    public double perplexity() {
        return Math.exp(loss);
    }

    /// Share of rows that greedy generation gives exactly.
    public double exactMatch() {
        return exactRows / (double) rows;
    }

    /// Evaluates rows.
    ///
    /// @param adapters by the name of the linear layer they sit on; empty for the base
    /// @param progress gets the number of rows done so far
    /// @throws VectuneException if no token is labelled
    public static Evaluation of(
            DecoderModel model,
            Map<String, Adapter> adapters,
            Compute compute,
            List<TokenRow> rows,
            IntConsumer progress) {
        RowBatches batches = RowBatches.of(rows);
        double sum = 0;
        long tokens = 0;
        int labelledRows = 0;
        int exact = 0;
        int done = 0;
        try (DecoderPass pass = DecoderPass.forEvaluation(model, adapters, compute, batches.limits())) {
            for (List<TokenRow> group : batches.groups()) {
                SequenceBatch batch = RowBatches.batch(group);
                DecoderPass.Score score = pass.score(batch);
                sum += score.lossSum();
                tokens += batch.labelledTokens();
                labelledRows += (int) group.stream().filter(TokenRow::isLabelled).count();
                exact += score.exactRows();
                done += group.size();
                progress.accept(done);
            }
        }
        if (tokens == 0) {
            throw new VectuneException(
                    "evaluation: expected at least one labelled token, found none in " + rows.size() + " rows");
        }
        return new Evaluation(sum / tokens, tokens, labelledRows, exact);
    }
}
