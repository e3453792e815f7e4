package io.vectune.models.chat;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.el.JinjavaProcessors;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import com.hubspot.jinjava.tree.Node;
import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.SpecialTokens;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.io.IOException;
import java.io.Serial;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/// The chat template of a model. Threads may share one.
public final class ChatTemplate implements ChatFormat {
    /// Nodes that one rendering may visit, its time, and the text it may give: far beyond any conversation.
    private static final int MAX_STEPS = 200_000;

    private static final long MAX_NANOS = 10_000_000_000L;

    private static final long MAX_OUTPUT = 64L << 20;

    /// Where the steps are counted: no template can spell this name.
    private static final String STEPS = " steps";

    private final String origin;
    private final String source;
    private final String translated;
    private final SpecialTokens special;
    private volatile @Nullable Jinjava engine;

    private ChatTemplate(String source, SpecialTokens special, String origin) {
        this.origin = origin;
        this.source = source;
        this.translated = TemplateDialect.translate(source);
        this.special = special;
    }

    /// @param source the Jinja template
    /// @param special the tokens that it can name (`bos_token`, ...)
    /// @param origin where it comes from, for messages
    public static ChatTemplate of(String source, SpecialTokens special, String origin) {
        return new ChatTemplate(source, special, origin);
    }

    /// The template of a model directory: the file chat_template.jinja, or chat_template in tokenizer_config.json.
    public static Optional<ChatTemplate> find(Path directory, SpecialTokens special) {
        Path file = directory.resolve("chat_template.jinja");
        if (Files.isRegularFile(file)) {
            return Optional.of(of(StrictJson.readText(file), special, file.toString()));
        }
        Path config = directory.resolve("tokenizer_config.json");
        if (!Files.isRegularFile(config)) {
            return Optional.empty();
        }
        JsonNode node = StrictJson.readObject(config).path("chat_template");
        String name = config + ": chat_template";
        if (node.isString()) {
            return Optional.of(of(node.asString(), special, name));
        }
        for (JsonNode named : node) {
            if (named.path("name").asString("").equals("default")) {
                return Optional.of(of(named.path("template").asString(""), special, name));
            }
        }
        return Optional.empty();
    }

    /// The template as it was given.
    public String source() {
        return source;
    }

    @Override
    public String render(List<Map<String, Object>> messages, boolean addGenerationPrompt) {
        return render(messages, addGenerationPrompt, Map.of());
    }

    /// Renders with more variables, such as `tools` or `enable_thinking`.
    ///
    /// @throws VectuneException if the template refuses the conversation, or uses what is not supported
    public String render(List<Map<String, Object>> messages, boolean addGenerationPrompt, Map<String, ?> variables) {
        Map<String, Object> bindings = new HashMap<>(variables);
        bindings.put("messages", messages);
        bindings.put("add_generation_prompt", addGenerationPrompt);
        bindings.put(STEPS, new Budget(new AtomicInteger(), System.nanoTime()));
        putIfPresent(bindings, "bos_token", special.bos());
        putIfPresent(bindings, "eos_token", special.eos());
        putIfPresent(bindings, "pad_token", special.pad());
        putIfPresent(bindings, "unk_token", special.unk());
        RenderResult result;
        try {
            result = sharedEngine().renderForResult(translated, bindings);
        } catch (TooManySteps e) {
            throw new VectuneException(
                    origin + ": gave up after " + MAX_STEPS + " steps or 10 seconds; the template does not end", e);
        }
        for (TemplateError error : result.getErrors()) {
            throw failure(error);
        }
        return result.getOutput();
    }

    private static void putIfPresent(Map<String, Object> bindings, String name, @Nullable String token) {
        if (token != null) {
            bindings.putIfAbsent(name, token);
        }
    }

    private VectuneException failure(TemplateError error) {
        for (Throwable cause = error.getException(); cause != null; cause = cause.getCause()) {
            if (cause instanceof VectuneException) {
                return new VectuneException(origin + ": " + cause.getMessage(), cause);
            }
        }
        String message = String.valueOf(error.getMessage()).lines().findFirst().orElse("unknown error");
        return new VectuneException(origin + ": line " + error.getLineno() + ": " + message, error.getException());
    }

    /// Passes through the engine, which catches exceptions and goes on.
    private static final class TooManySteps extends Error {
        @Serial private static final long serialVersionUID = 1L;
    }

    private record Budget(AtomicInteger steps, long start) {}

    private static void countStep(Node node, JinjavaInterpreter interpreter) {
        if (interpreter.getContext().get(STEPS) instanceof Budget budget
                && (budget.steps.incrementAndGet() > MAX_STEPS || System.nanoTime() - budget.start > MAX_NANOS)) {
            throw new TooManySteps();
        }
    }

    /// Made at the first rendering: loading the library takes longer than loading a small model.
    private Jinjava sharedEngine() {
        Jinjava made = engine;
        if (made == null) {
            made = newEngine();
            engine = made;
        }
        return made;
    }

    private static Jinjava newEngine() {
        JinjavaConfig config =
                JinjavaConfig.newBuilder()
                        .withTrimBlocks(false)
                        .withLstripBlocks(false)
                        .withNestedInterpretationEnabled(false)
                        .withReadOnlyResolver(true)
                        .withElResolver(new PythonValues())
                        .withProcessors(
                                JinjavaProcessors.newBuilder().withNodePreProcessor(ChatTemplate::countStep).build())
                        .withMaxOutputSize(MAX_OUTPUT)
                        .withMaxStringLength(MAX_OUTPUT)
                        .withRangeLimit(1000)
                        .withMaxRenderDepth(64)
                        .withEnableRecursiveMacroCalls(true)
                        .withMaxMacroRecursionDepth(10)
                        .withDisabled(Map.of(Context.Library.TAG, Set.of("include", "import", "from", "extends")))
                        .withLegacyOverrides(
                                LegacyOverrides.newBuilder()
                                        .withUsePyishObjectMapper(true)
                                        .withEvaluateMapKeys(true)
                                        .withIterateOverMapKeys(true)
                                        .withUseNaturalOperatorPrecedence(true)
                                        .withParseWhitespaceControlStrictly(true)
                                        .withKeepNullableLoopValues(true)
                                        .withAllowAdjacentTextNodes(true)
                                        .build())
                        .build();
        Jinjava engine = new Jinjava(config);
        engine.setResourceLocator((name, encoding, interpreter) -> {
            throw new IOException("a chat template cannot read files");
        });
        engine.getGlobalContext().registerTag(new ConditionalForTag());
        engine.getGlobalContext().registerTag(new PassThroughTag());
        engine.getGlobalContext().registerFilter(new PythonJsonFilter());
        engine.getGlobalContext()
                .registerFunction(
                        new ELFunctionDefinition(
                                "", "raise_exception", TemplateFunctions.class, "raiseException", Object.class));
        engine.getGlobalContext()
                .registerFunction(
                        new ELFunctionDefinition(
                                "", "strftime_now", TemplateFunctions.class, "strftimeNow", Object.class));
        return engine;
    }
}
