package io.vectune.models.load;

import java.util.Set;

/// What a model's files say about generating with it.
///
/// @param endTokens ids that end a text; may be empty
/// @param sample whether the model's makers sample by default
public record GenerationDefaults(
        Set<Integer> endTokens, boolean sample, float temperature, int topK, float topP, float repetitionPenalty) {
    public GenerationDefaults {
        endTokens = Set.copyOf(endTokens);
    }

    /// Greedy, ended by these tokens alone.
    public static GenerationDefaults endedBy(Set<Integer> endTokens) {
        return new GenerationDefaults(endTokens, false, 1, 50, 1, 1);
    }
}
