package io.vectune.models.eval;

import io.vectune.adapters.Adapter;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.PassLimits;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.util.ArrayList;
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
    /// Rows go through the model together up to so many tokens.
    private static final int BATCH_TOKENS = 1024;

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
        List<List<TokenRow>> groups = groups(rows);
        double sum = 0;
        long tokens = 0;
        int labelledRows = 0;
        int exact = 0;
        int done = 0;
        try (DecoderPass pass = DecoderPass.forEvaluation(model, adapters, compute, limits(groups))) {
            for (List<TokenRow> group : groups) {
                SequenceBatch batch =
                        SequenceBatch.of(
                                group.stream().map(TokenRow::ids).toList(),
                                group.stream().map(TokenRow::labels).toList());
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

    private static List<List<TokenRow>> groups(List<TokenRow> rows) {
        List<List<TokenRow>> groups = new ArrayList<>();
        List<TokenRow> group = new ArrayList<>();
        int tokens = 0;
        for (TokenRow row : rows) {
            if (!group.isEmpty() && tokens + row.ids().length > BATCH_TOKENS) {
                groups.add(group);
                group = new ArrayList<>();
                tokens = 0;
            }
            group.add(row);
            tokens += row.ids().length;
        }
        if (!group.isEmpty()) {
            groups.add(group);
        }
        return groups;
    }

    private static PassLimits limits(List<List<TokenRow>> groups) {
        int tokens = 1;
        int longest = 1;
        for (List<TokenRow> group : groups) {
            tokens = Math.max(tokens, group.stream().mapToInt(row -> row.ids().length).sum());
            longest = Math.max(longest, group.stream().mapToInt(row -> row.ids().length).max().orElse(1));
        }
        return new PassLimits(tokens, longest);
    }
}
