package io.vectune.cli;

import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderSession;
import io.vectune.models.generate.GenerationOptions;
import io.vectune.models.generate.TextGeneration;
import io.vectune.models.generate.TextGeneration.Continuation;
import io.vectune.models.load.GenerationDefaults;
import io.vectune.models.load.ModelText;
import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.StreamingDecoder;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `vectune generate`: the continuation of a prompt, streamed to stdout; or a conversation.
@Command(
        name = "generate",
        description = {
            "Continue a prompt, or chat. The text goes to stdout, everything else to stderr.",
            "--json: text, tokens and speed instead of the stream; with --chat one object a message."
        })
final class GenerateCommand implements Callable<Integer> {
    @Spec
    @SuppressWarnings("NullAway.Init")
    private CommandSpec spec;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private HostOptions host;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private QuantizeOnLoad quantize;

    @ArgGroup(multiplicity = "1")
    @SuppressWarnings("NullAway.Init")
    private Source source;

    private static final class Source {
        @Option(names = "--prompt", paramLabel = "TEXT", description = "The text to continue.")
        private @Nullable String prompt;

        @Option(
                names = "--message",
                paramLabel = "TEXT",
                description = "One message of a user, in the model's chat format.")
        private @Nullable String message;

        @Option(names = "--chat", description = "A conversation: one message a line of stdin.")
        private boolean chat;
    }

    @Option(names = "--system", paramLabel = "TEXT", description = "System message of --message and --chat.")
    private @Nullable String system;

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            defaultValue = "128",
            description = "Most tokens to generate (default: ${DEFAULT-VALUE}).")
    private int maxTokens;

    @Option(names = "--temperature", paramLabel = "T", description = "0 takes the most probable token (default: 0).")
    private float temperature;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            defaultValue = "0",
            description = "Draw from the K most probable tokens (0 = off).")
    private int topK;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description = "Draw from the tokens that make up P of the probability.")
    private float topP;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            defaultValue = "0",
            description = "Leave out tokens below P times the largest probability.")
    private float minP;

    @Option(
            names = "--repetition-penalty",
            paramLabel = "X",
            defaultValue = "1",
            description = "Above 1 discourages repeated tokens.")
    private float repetitionPenalty;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "0",
            description = "Seed of the draws (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(names = "--ignore-eos", description = "Go on after an end token.")
    private boolean ignoreEos;

    @Option(
            names = "--context",
            paramLabel = "N",
            description = "Most tokens of prompt and continuations (default: what they need).")
    private @Nullable Integer context;

    @Mixin
    @SuppressWarnings("NullAway.Init")
    private JsonOption json;

    @Override
    public Integer call() throws IOException {
        Output output = Output.of(spec);
        GenerationOptions checked = options(Set.of());
        if (system != null && source.prompt != null) {
            throw new UsageException("--system belongs to --message and --chat, found --prompt");
        }
        try (Host opened = host.open(quantize.quantizer())) {
            ModelText text = ModelText.of(host.model());
            GenerationOptions options = options(stopTokens(opened.loaded().generation(), text));
            int positions = opened.model().config().maxPositionEmbeddings();
            requireContext(positions);
            if (source.chat) {
                chat(output, opened, text, options);
                return 0;
            }
            int[] prompt = prompt(text);
            if (prompt.length >= positions) {
                output.note(
                        "warning: the prompt has %d tokens, but the model was made for %d positions; expect poor text",
                        prompt.length, positions);
            }
            int capacity = context == null ? capacity(prompt.length, checked.maxTokens(), positions) : context;
            if (prompt.length == 0) {
                throw new UsageException("--prompt: expected at least one token, found an empty text");
            }
            if (prompt.length >= capacity) {
                throw new UsageException(
                        "--context: expected more than the "
                                + prompt.length
                                + " tokens of the prompt, found "
                                + capacity);
            }
            try (DecoderSession session = opened.session(capacity)) {
                generate(output, opened.model(), session, text, prompt, 0, options);
            }
        }
        return 0;
    }

    private void requireContext(int positions) {
        if (context != null && (context < 1 || context > positions)) {
            throw new UsageException(
                    "--context: expected 1 to " + positions + ", the positions of the model, found " + context);
        }
    }

    /// Up to the model's positions; a prompt that is longer still gets its answer.
    private static int capacity(int prompt, int maxTokens, int positions) {
        long wanted = (long) prompt + maxTokens;
        long most = prompt < positions ? positions : (long) prompt + positions;
        return Math.toIntExact(Math.min(wanted, most));
    }

    private GenerationOptions options(Set<Integer> stopTokens) {
        try {
            return new GenerationOptions(maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stopTokens);
        } catch (IllegalArgumentException wrong) {
            throw new UsageException(
                    "--" + String.valueOf(wrong.getMessage()).replaceFirst("^(\\w+) (\\w+:)", "$1-$2"));
        }
    }

    private Set<Integer> stopTokens(GenerationDefaults defaults, ModelText text) {
        if (ignoreEos) {
            return Set.of();
        }
        Set<Integer> stop = new HashSet<>(defaults.endTokens());
        text.tokenizer().eosId().ifPresent(stop::add);
        return stop;
    }

    private int[] prompt(ModelText text) {
        if (source.prompt != null) {
            return text.tokenizer().encode(source.prompt, true);
        }
        List<Map<String, Object>> messages = conversation();
        messages.add(Map.of("role", "user", "content", String.valueOf(source.message)));
        return text.tokenizer().encode(format(text).render(messages, true), false);
    }

    private List<Map<String, Object>> conversation() {
        List<Map<String, Object>> messages = new ArrayList<>();
        if (system != null) {
            messages.add(Map.of("role", "system", "content", system));
        }
        return messages;
    }

    private ChatFormat format(ModelText text) {
        ChatFormat format = text.chat();
        if (format == null) {
            throw new UsageException(host.model() + ": the model has no chat template; use --prompt");
        }
        return format;
    }

    /// @param held how many tokens of the prompt the session holds already
    private Continuation generate(
            Output output,
            DecoderModel model,
            DecoderSession session,
            ModelText text,
            int[] prompt,
            int held,
            GenerationOptions options) {
        PrintWriter out = output.out();
        StreamingDecoder decoder = text.tokenizer().streamingDecoder(true);
        StringBuilder whole = new StringBuilder();
        Continuation continuation =
                TextGeneration.run(
                        session,
                        prompt,
                        held,
                        options,
                        token -> {
                            String piece = decoder.add(token);
                            whole.append(piece);
                            if (!json.isOn()) {
                                out.print(piece);
                                Output.flush(out);
                            }
                            return true;
                        });
        String rest = decoder.finish();
        whole.append(rest);
        if (json.isOn()) {
            Map<String, Object> object = new LinkedHashMap<>();
            object.put("text", whole.toString());
            object.put("tokens", continuation.tokens());
            object.put("prompt_tokens", prompt.length);
            object.put("end", continuation.end().name().toLowerCase(Locale.ROOT));
            object.put("prompt_seconds", continuation.promptSeconds());
            object.put("seconds", continuation.seconds());
            object.put("weight_bytes", model.storageBytes());
            object.put("arranged_bytes", model.fusedBytes());
            JsonOutput.print(out, object);
        } else {
            out.println(rest);
            Output.flush(out);
            output.note(
                    "%d prompt tokens in %.2f s, %d tokens at %.1f tokens/s; weights %s, arranged for this %s",
                    prompt.length,
                    continuation.promptSeconds(),
                    continuation.tokens().size(),
                    continuation.tokens().size() > 1 ? continuation.tokensPerSecond() : 0.0,
                    Progress.bytes(model.storageBytes()),
                    Progress.bytes(model.fusedBytes()));
        }
        return continuation;
    }

    private void chat(Output output, Host opened, ModelText text, GenerationOptions options) throws IOException {
        ChatFormat format = format(text);
        List<Map<String, Object>> messages = conversation();
        int capacity = context == null ? Math.min(opened.model().config().maxPositionEmbeddings(), 8192) : context;
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        if (Progress.onTerminal()) {
            output.note("One message a line; an empty line or the end of the input ends the conversation.");
        }
        // What the cache holds: a turn computes only what its conversation adds to it.
        int[] cached = {};
        try (DecoderSession session = opened.session(capacity)) {
            for (String line = in.readLine(); line != null && !line.isBlank(); line = in.readLine()) {
                messages.add(Map.of("role", "user", "content", line));
                int[] prompt = text.tokenizer().encode(format.render(messages, true), false);
                if (prompt.length >= capacity) {
                    throw new UsageException(
                            "--context: the conversation has "
                                    + prompt.length
                                    + " tokens, the session holds "
                                    + capacity);
                }
                int held = Math.min(commonPrefix(cached, prompt), prompt.length - 1);
                session.rewind(held);
                Continuation answer = generate(output, opened.model(), session, text, prompt, held, options);
                int[] tokens = answer.tokens().stream().mapToInt(Integer::intValue).toArray();
                cached = Arrays.copyOf(prompt, session.position());
                System.arraycopy(tokens, 0, cached, prompt.length, cached.length - prompt.length);
                messages.add(Map.of("role", "assistant", "content", text.tokenizer().decode(tokens, true)));
            }
        }
    }

    private static int commonPrefix(int[] a, int[] b) {
        int mismatch = Arrays.mismatch(a, b);
        return mismatch < 0 ? a.length : mismatch;
    }
}
