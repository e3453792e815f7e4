package io.vectune.models.text;

import java.util.List;
import java.util.Map;

/// Turns a conversation into the text that a model was tuned on.
@FunctionalInterface
public interface ChatFormat {
    /// @param messages each with at least `role` and `content`
    /// @param addGenerationPrompt whether the text ends where the model's answer begins
    /// @throws io.vectune.runtime.VectuneException if the format refuses the conversation
    String render(List<Map<String, Object>> messages, boolean addGenerationPrompt);
}
