package io.vectune.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.safetensors.SafetensorsFile;
import io.vectune.runtime.safetensors.SafetensorsWriter;
import io.vectune.runtime.tensor.Tensor;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;
import tools.jackson.databind.node.ObjectNode;

/// `vectune generate` beyond a prompt: messages, conversations, models that are of no use.
class GenerateCommandTest {
    private static final Path MODEL =
            Path.of(System.getProperty("vectune.testData", "../test-data")).resolve("tiny-llama");
    private static final short BF16_NAN = 0x7FC0;
    private static final String DEFAULT_SYSTEM = "You are a tiny model.";
    private static final String FIRST = "Mia was in the garden.";
    private static final String SECOND = "What is the opposite of hot?";

    @TempDir private Path directory;

    private String out = "";
    private String err = "";

    private int generate(Path model, String... more) {
        List<String> arguments = new ArrayList<>(List.of("generate", "--model", model.toString()));
        arguments.addAll(Arrays.asList(more));
        StringWriter outText = new StringWriter();
        StringWriter errText = new StringWriter();
        CommandLine line = Vectune.commandLine();
        line.setOut(new PrintWriter(outText));
        line.setErr(new PrintWriter(errText));
        int code = line.execute(arguments.toArray(String[]::new));
        out = outText.toString();
        err = errText.toString();
        return code;
    }

    /// A conversation whose lines come from stdin.
    private int chat(String lines, String... more) {
        InputStream original = System.in;
        System.setIn(new ByteArrayInputStream(lines.getBytes(StandardCharsets.UTF_8)));
        try {
            List<String> arguments = new ArrayList<>(List.of("--chat", "--max-tokens", "12"));
            arguments.addAll(Arrays.asList(more));
            return generate(MODEL, arguments.toArray(String[]::new));
        } finally {
            System.setIn(original);
        }
    }

    private List<ObjectNode> objects() {
        return out.lines().map(line -> StrictJson.parseObject(line, "stdout")).toList();
    }

    /// What the command answers to a text that is in the chat format already.
    private ObjectNode answer(String rendered) {
        assertThat(generate(MODEL, "--prompt", rendered, "--max-tokens", "12", "--json")).as(err).isZero();
        return objects().getFirst();
    }

    private static String turn(String role, String content) {
        return "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
    }

    private static String rendered(String system, String... turns) {
        StringBuilder text = new StringBuilder(turn("system", system));
        for (int index = 0; index < turns.length; index++) {
            text.append(turn(index % 2 == 0 ? "user" : "assistant", turns[index]));
        }
        return text.append("<|im_start|>assistant\n").toString();
    }

    private static void assertSameAnswer(ObjectNode found, ObjectNode expected) {
        for (String field : List.of("text", "tokens", "prompt_tokens", "end")) {
            assertThat(found.get(field)).as(field).isEqualTo(expected.get(field));
        }
    }

    @Test
    void aMessageIsAnsweredInTheModelsChatFormat() {
        ObjectNode expected = answer(rendered(DEFAULT_SYSTEM, FIRST));
        assertThat(generate(MODEL, "--message", FIRST, "--max-tokens", "12", "--json")).as(err).isZero();
        assertThat(out).hasLineCount(1);
        ObjectNode found = objects().getFirst();
        assertSameAnswer(found, expected);
        assertThat(found.propertyNames())
                .containsExactly(
                        "text",
                        "tokens",
                        "prompt_tokens",
                        "end",
                        "prompt_seconds",
                        "seconds",
                        "weight_bytes",
                        "arranged_bytes");
        assertThat(found.get("text").asString()).isNotBlank().doesNotContain("<|im_end|>");

        assertThat(generate(MODEL, "--message", FIRST, "--max-tokens", "12")).as(err).isZero();
        assertThat(out).isEqualTo(found.get("text").asString() + System.lineSeparator());
        assertThat(err).contains(found.get("prompt_tokens").asInt() + " prompt tokens in ", " tokens/s; weights ");
    }

    @Test
    void aSystemMessageReplacesTheTemplatesOwn() {
        ObjectNode expected = answer(rendered("Answer in one word.", FIRST));
        assertThat(
                        generate(
                                MODEL,
                                "--message",
                                FIRST,
                                "--system",
                                "Answer in one word.",
                                "--max-tokens",
                                "12",
                                "--json"))
                .as(err)
                .isZero();
        assertSameAnswer(objects().getFirst(), expected);
    }

    @Test
    void aConversationIsKept() {
        assertThat(chat(FIRST + "\n" + SECOND + "\n\nafter the end\n", "--json")).as(err).isZero();
        List<ObjectNode> answers = objects();
        assertThat(answers).hasSize(2);
        String first = answers.get(0).get("text").asString();
        assertSameAnswer(answers.get(0), answer(rendered(DEFAULT_SYSTEM, FIRST)));
        assertSameAnswer(answers.get(1), answer(rendered(DEFAULT_SYSTEM, FIRST, first, SECOND)));

        // The same as a stream, one line an answer; the last line of the input needs no end.
        assertThat(chat(FIRST + "\n" + SECOND)).as(err).isZero();
        assertThat(out.lines()).containsExactly(first, answers.get(1).get("text").asString());
        assertThat(err.lines().filter(line -> line.contains(" prompt tokens in "))).hasSize(2);

        assertThat(chat(FIRST + "\n", "--system", "Be brief.", "--json")).as(err).isZero();
        assertSameAnswer(objects().getFirst(), answer(rendered("Be brief.", FIRST)));
        assertThat(chat("", "--json")).as(err).isZero();
        assertThat(out).isEmpty();
    }

    @Test
    void aConversationThatOutgrowsItsContextEnds() {
        assertThat(chat(FIRST + "\n" + SECOND + "\n", "--context", "44", "--json")).isEqualTo(2);
        assertThat(objects()).hasSize(1);
        assertThat(err).contains("vectune: --context: the conversation has ", " tokens, the session holds 44");
    }

    @Test
    void sourcesOfTheTextExcludeEachOther() {
        assertThat(generate(MODEL)).isEqualTo(2);
        assertThat(err).contains("--prompt", "--message", "--chat");
        assertThat(generate(MODEL, "--prompt", "a", "--message", "b")).isEqualTo(2);
        assertThat(generate(MODEL, "--chat", "--message", "b")).isEqualTo(2);
        assertThat(out).isEmpty();
    }

    private Path copy(String... files) throws IOException {
        Path copy = Files.createDirectories(directory.resolve("model"));
        for (String file : files) {
            Files.copy(MODEL.resolve(file), copy.resolve(file));
        }
        return copy;
    }

    @Test
    void aModelWithoutChatFormatIsRefusedByName() throws IOException {
        Path model = copy("config.json", "generation_config.json", "model.safetensors", "tokenizer.json");
        assertThat(generate(model, "--message", FIRST)).isEqualTo(2);
        assertThat(err).contains("vectune: " + model + ": the model has no chat template; use --prompt");
        assertThat(generate(model, "--chat")).isEqualTo(2);
        assertThat(generate(model, "--prompt", FIRST, "--max-tokens", "1")).as(err).isZero();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "model.embed_tokens.weight",
                "model.norm.weight",
                "model.layers.1.input_layernorm.weight",
                "model.layers.0.self_attn.q_proj.weight",
                "model.layers.1.self_attn.k_proj.weight",
                "model.layers.3.self_attn.v_proj.weight",
                "model.layers.2.mlp.gate_proj.weight",
                "model.layers.3.mlp.down_proj.weight"
            })
    void aModelWithNumbersThatAreNoneFailsInOneLine(String name) throws IOException {
        Path model = copy("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json");
        try (Arena arena = Arena.ofShared()) {
            SafetensorsFile weights = SafetensorsFile.open(MODEL.resolve("model.safetensors"), arena);
            Map<String, Tensor> tensors = new LinkedHashMap<>();
            for (String tensor : weights.names()) {
                tensors.put(tensor, weights.tensor(tensor));
            }
            Tensor broken = weights.tensor(name);
            Tensor copy = Tensor.allocate(arena, broken.dtype(), broken.shape());
            copy.segment().copyFrom(broken.segment());
            copy.segment().set(Tensor.SHORT, 2L * 7, BF16_NAN);
            tensors.put(name, copy);
            SafetensorsWriter.write(model.resolve("model.safetensors"), tensors, Map.of());
        }
        for (String source : List.of("--prompt", "--message")) {
            assertThat(generate(model, source, FIRST, "--max-tokens", "4")).isEqualTo(1);
            assertThat(out.strip()).isEmpty();
            assertThat(err.lines().filter(line -> line.startsWith("vectune: ")))
                    .hasSize(1)
                    .first()
                    .asString()
                    .contains("the logits of the next token are not finite: the model or the adapter holds values");
            assertThat(err).doesNotContain("\tat ");
        }
    }
}
