package io.vectune.models.generate;

import java.util.Set;

/// How to choose the next tokens. Filters act in the order of transformers: repetition penalty, temperature, top-k,
/// top-p, min-p.
///
/// @param maxTokens of the continuation
/// @param temperature divides the logits; 0 takes the most probable token, and the filters below do nothing
/// @param topK keeps the k most probable tokens; 0 keeps all
/// @param topP keeps the most probable tokens until their probabilities reach this; 1 keeps all
/// @param minP keeps tokens with at least this share of the largest probability; 0 keeps all
/// @param repetitionPenalty divides positive and multiplies negative logits of tokens that the text already has; 1 does
///   nothing
/// @param seed of the draws
/// @param stopTokens end the text; they are not part of the continuation
public record GenerationOptions(
        int maxTokens,
        float temperature,
        int topK,
        float topP,
        float minP,
        float repetitionPenalty,
        long seed,
        Set<Integer> stopTokens) {
    public GenerationOptions {
        require(maxTokens >= 1, "max tokens", "at least 1", maxTokens);
        require(temperature >= 0 && Float.isFinite(temperature), "temperature", "a number of at least 0", temperature);
        require(topK >= 0, "top-k", "at least 0 (0 = off)", topK);
        require(topP > 0 && topP <= 1, "top-p", "more than 0 and at most 1", topP);
        require(minP >= 0 && minP <= 1, "min-p", "0 to 1", minP);
        require(
                repetitionPenalty > 0 && Float.isFinite(repetitionPenalty),
                "repetition penalty",
                "a positive number",
                repetitionPenalty);
        stopTokens = Set.copyOf(stopTokens);
    }

    private static void require(boolean holds, String option, String expected, Number found) {
        if (!holds) {
            throw new IllegalArgumentException(option + ": expected " + expected + ", found " + found);
        }
    }

    /// The most probable token each time.
    public static GenerationOptions greedy(int maxTokens, Set<Integer> stopTokens) {
        return new GenerationOptions(maxTokens, 0, 0, 1, 0, 1, 0, stopTokens);
    }
}
