package io.vectune.models.generate;

import io.vectune.models.decoder.DecoderSession;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.IntPredicate;

/// Continues a text in a session.
public final class TextGeneration {
    private TextGeneration() {}

    /// Why a continuation ended.
    public enum End {
        /// A stop token came.
        STOP_TOKEN,
        /// The tokens asked for are there.
        MAX_TOKENS,
        /// The session is full.
        CAPACITY,
        /// The listener wanted no more.
        LISTENER
    }

    /// A continuation.
    ///
    /// @param tokens without the stop token
    /// @param promptSeconds until the logits of the prompt were there
    /// @param seconds for the tokens after the first one
    public record Continuation(List<Integer> tokens, End end, double promptSeconds, double seconds) {
        public Continuation {
            tokens = List.copyOf(tokens);
        }

        /// Tokens a second after the first one; NaN if there are none.
        public double tokensPerSecond() {
            return tokens.size() < 2 ? Double.NaN : (tokens.size() - 1) / seconds;
        }
    }

    /// Appends the prompt to the session and continues it.
    ///
    /// @param prompt at least one token
    /// @param listener gets each token as it comes; false ends the text
    public static Continuation run(
            DecoderSession session, int[] prompt, GenerationOptions options, IntPredicate listener) {
        return run(session, prompt, 0, options, listener);
    }

    /// Appends the rest of a prompt to the session, whose text ends with its first tokens, and continues it.
    ///
    /// @param prompt the whole of it
    /// @param held how many tokens of it the session holds already; at least one is left to append
    /// @param listener gets each token as it comes; false ends the text
    public static Continuation run(
            DecoderSession session, int[] prompt, int held, GenerationOptions options, IntPredicate listener) {
        if (held < 0 || held > session.position() || (held > 0 && held >= prompt.length)) {
            throw new IllegalArgumentException(
                    "held: expected 0 to "
                            + Math.max(0, Math.min(session.position(), prompt.length - 1))
                            + ", found "
                            + held);
        }
        TokenSampler sampler = new TokenSampler(options);
        for (int token : prompt) {
            sampler.see(token);
        }
        long start = System.nanoTime();
        Matrix logits = session.append(held == 0 ? prompt : Arrays.copyOfRange(prompt, held, prompt.length));
        long prompted = System.nanoTime();
        List<Integer> tokens = new ArrayList<>();
        End end = End.MAX_TOKENS;
        while (tokens.size() < options.maxTokens()) {
            int token = sampler.next(logits);
            if (options.stopTokens().contains(token)) {
                end = End.STOP_TOKEN;
                break;
            }
            sampler.see(token);
            tokens.add(token);
            if (!listener.test(token)) {
                end = End.LISTENER;
                break;
            }
            if (tokens.size() == options.maxTokens()) {
                break;
            }
            if (session.position() == session.capacity()) {
                end = End.CAPACITY;
                break;
            }
            logits = session.append(token);
        }
        return new Continuation(tokens, end, (prompted - start) * 1e-9, (System.nanoTime() - prompted) * 1e-9);
    }
}
