package io.vectune.models.train;

import io.vectune.runtime.nn.CrossEntropy;
import java.util.Arrays;

/// One row of training data.
///
/// @param ids token ids, at least one
/// @param labels as long as ids: the token itself, or -100 where no loss is taken
@SuppressWarnings("ArrayRecordComponent") // rows are many and large; nobody compares them
public record TokenRow(int[] ids, int[] labels) {
    public TokenRow {
        if (ids.length == 0 || ids.length != labels.length) {
            throw new IllegalArgumentException(
                    "row: expected at least one token and as many labels, found "
                            + ids.length
                            + " tokens and "
                            + labels.length
                            + " labels");
        }
    }

    /// A row with the loss on every token.
    public static TokenRow ofText(int... ids) {
        return new TokenRow(ids, ids.clone());
    }

    /// Whether any token is asked for.
    public boolean isLabelled() {
        return Arrays.stream(labels).skip(1).anyMatch(label -> label != CrossEntropy.IGNORED);
    }
}
