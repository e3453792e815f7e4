package io.vectune.cli;

import java.util.Arrays;

/// Token ids given on the command line: `1,2,3`.
final class TokenList {
    private TokenList() {}

    /// Reads and checks ids.
    ///
    /// @param option the option's name, for the message
    /// @throws UsageException for an empty list, something that is no number, or an id outside the vocabulary
    static int[] parse(String option, String text, int vocabSize) {
        String[] parts = text.strip().split("[,\\s]+", -1);
        int[] tokens = new int[parts.length];
        for (int index = 0; index < parts.length; index++) {
            try {
                tokens[index] = Integer.parseInt(parts[index]);
            } catch (NumberFormatException notANumber) {
                throw new UsageException(
                        option
                                + ": expected token ids such as 1,2,3, found \""
                                + parts[index]
                                + "\" in "
                                + Arrays.toString(parts));
            }
            if (tokens[index] < 0 || tokens[index] >= vocabSize) {
                throw new UsageException(
                        option
                                + ": expected ids from 0 to "
                                + (vocabSize - 1)
                                + ", the model's vocabulary, found "
                                + tokens[index]);
            }
        }
        return tokens;
    }
}
