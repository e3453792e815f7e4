package io.vectune.models.train;

import io.vectune.models.decoder.PassLimits;
import io.vectune.models.decoder.SequenceBatch;
import java.util.ArrayList;
import java.util.List;

/// Rows in the order of their file, in groups that go through a model together.
///
/// @param groups at least one row each
/// @param limits the largest group
public record RowBatches(List<List<TokenRow>> groups, PassLimits limits) {
    /// A group has so many tokens at most, or one row.
    private static final int BATCH_TOKENS = 1024;

    /// Groups the rows.
    public static RowBatches of(List<TokenRow> rows) {
        List<List<TokenRow>> groups = new ArrayList<>();
        List<TokenRow> group = new ArrayList<>();
        int tokens = 0;
        int most = 1;
        int longest = 1;
        for (TokenRow row : rows) {
            int length = row.ids().length;
            if (!group.isEmpty() && tokens + length > BATCH_TOKENS) {
                groups.add(List.copyOf(group));
                group.clear();
                tokens = 0;
            }
            group.add(row);
            tokens += length;
            most = Math.max(most, tokens);
            longest = Math.max(longest, length);
        }
        if (!group.isEmpty()) {
            groups.add(List.copyOf(group));
        }
        return new RowBatches(List.copyOf(groups), new PassLimits(most, longest));
    }

    /// The rows of a group as one batch.
    public static SequenceBatch batch(List<TokenRow> group) {
        return SequenceBatch.of(
                group.stream().map(TokenRow::ids).toList(), group.stream().map(TokenRow::labels).toList());
    }
}
