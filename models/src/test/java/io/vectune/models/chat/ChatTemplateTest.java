package io.vectune.models.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.text.SpecialTokens;
import io.vectune.models.text.Tokenizer;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Year;
import java.time.ZoneId;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.JsonNode;

class ChatTemplateTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData"));
    private static final List<Map<String, Object>> HELLO = List.of(Map.of("role", "user", "content", "Hello"));

    @TempDir Path folder;

    private static List<Map<String, Object>> list(JsonNode node) {
        return StrictJson.mapper().convertValue(node, new TypeReference<List<Map<String, Object>>>() {});
    }

    private static @Nullable String text(@Nullable JsonNode node) {
        return node == null || !node.isString() ? null : node.asString();
    }

    private static void check(
            ChatTemplate template, JsonNode fact, JsonNode messages, boolean prompt, @Nullable JsonNode tools) {
        Map<String, Object> variables = new HashMap<>();
        if (tools != null) {
            variables.put("tools", list(tools));
        }
        if (fact.has("rendered")) {
            assertThat(template.render(list(messages), prompt, variables))
                    .as(fact.path("about").asString(template.source()))
                    .isEqualTo(fact.get("rendered").asString());
        } else {
            assertThatThrownBy(() -> template.render(list(messages), prompt, variables))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageContaining(fact.get("error").asString());
        }
    }

    @Test
    void rendersWhatTransformersRenders() {
        JsonNode golden = StrictJson.readObject(TEST_DATA.resolve("tokenizer/goldens/chat.json"));
        Map<String, ChatTemplate> templates = new HashMap<>();
        golden.get("templates")
                .properties()
                .forEach(entry -> {
                    JsonNode node = entry.getValue();
                    SpecialTokens special =
                            new SpecialTokens(text(node.get("bos_token")), text(node.get("eos_token")), null, null);
                    templates.put(
                            entry.getKey(), ChatTemplate.of(node.get("template").asString(), special, entry.getKey()));
                });
        for (JsonNode fact : golden.get("cases")) {
            ChatTemplate template = templates.get(fact.get("template").asString());
            assertThat(template).isNotNull();
            if (template != null) {
                boolean prompt = fact.get("add_generation_prompt").asBoolean();
                check(template, fact, fact.get("messages"), prompt, fact.get("tools"));
            }
        }
    }

    @Test
    void readsEachConstructAsTransformersDoes() {
        JsonNode golden = StrictJson.readObject(TEST_DATA.resolve("chat/constructs.json"));
        SpecialTokens special = new SpecialTokens("<s>", null, null, null);
        for (JsonNode fact : golden.get("cases")) {
            ChatTemplate template = ChatTemplate.of(fact.get("template").asString(), special, "constructs");
            check(template, fact, golden.get("messages"), true, golden.get("tools"));
        }
    }

    @Test
    void findsTheTemplateOfADirectory() throws IOException {
        Path tiny = TEST_DATA.resolve("tiny-llama");
        ChatTemplate template = ChatTemplate.find(tiny, Tokenizer.load(tiny).specialTokens()).orElseThrow();
        assertThat(template.render(HELLO, true)).endsWith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
        assertThat(ChatTemplate.find(folder, SpecialTokens.NONE)).isEmpty();
        Files.writeString(
                folder.resolve("tokenizer_config.json"),
                "{\"chat_template\": [{\"name\": \"tools\", \"template\": \"t\"}, {\"name\": \"default\", \"template\": \"d\"}]}");
        assertThat(ChatTemplate.find(folder, SpecialTokens.NONE).orElseThrow().render(HELLO, false)).isEqualTo("d");
        Files.writeString(folder.resolve("chat_template.jinja"), "j\n");
        assertThat(ChatTemplate.find(folder, SpecialTokens.NONE).orElseThrow().render(HELLO, false)).isEqualTo("j");
    }

    /// Each is either refused or gives nothing: no Java object is in reach.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "{{ ''.getClass().forName('java.lang.Runtime').getRuntime().exec('id') }}",
                "{{ messages.class.classLoader }}",
                "{{ messages[0].getClass() }}",
                "{{ ''['class'] }}",
                "{{ messages|attr('class') }}",
                "{% for class, x in ['ab'] %}{{ class }}{% endfor %}",
                "{% include '/etc/passwd' %}",
                "{% import '/etc/passwd' as p %}{{ p }}",
                "{% extends '/etc/passwd' %}",
                "{% from '/etc/passwd' import x %}{{ x }}",
                "{{ ____int3rpr3t3r____.getConfig() }}",
                "{{ ____int3rpr3t3r____.config }}",
                "{{ messages[0].update({'role': 'x'}) }}",
            })
    void aTemplateSeesOnlyItsData(String source) {
        ChatTemplate template = ChatTemplate.of(source, SpecialTokens.NONE, "hostile");
        String seen;
        try {
            seen = template.render(HELLO, true);
        } catch (VectuneException e) {
            assertThat(e.getMessage()).startsWith("hostile: ").doesNotContain("\n");
            return;
        }
        assertThat(seen).doesNotContain("class").doesNotContain("root:").doesNotContain("jinjava").hasSizeLessThan(4);
    }

    @Test
    @Timeout(60)
    void aTemplateCannotRunForever() {
        String loops = "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}{{ c }}";
        ChatTemplate template = ChatTemplate.of(loops + "{% endfor %}".repeat(3), SpecialTokens.NONE, "hostile");
        assertThatThrownBy(() -> template.render(HELLO, true))
                .isInstanceOf(VectuneException.class)
                .hasMessageStartingWith("hostile: ");
        ChatTemplate recursive =
                ChatTemplate.of(
                        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}", SpecialTokens.NONE, "hostile");
        assertThatThrownBy(() -> recursive.render(HELLO, true)).isInstanceOf(VectuneException.class);
    }

    @Test
    void whatIsNotSupportedIsRefused() {
        for (String source :
                new String[] {
                    "{{ 'x' * 3 }}",
                    "{% filter trim %}x{% endfilter %}",
                    "{{ nothing() }}",
                    "{% if %}",
                    "{% for m in [] %}a{% else %}b{% endfor %}"
                }) {
            assertThatThrownBy(() ->
                            ChatTemplate.of(source, SpecialTokens.NONE, "dir/chat_template.jinja").render(HELLO, true))
                    .isInstanceOf(VectuneException.class)
                    .hasMessageStartingWith("dir/chat_template.jinja: ")
                    .hasMessageNotContaining("\n");
        }
    }

    @Test
    void knowsTheDate() {
        ChatTemplate template =
                ChatTemplate.of("{{ strftime_now('%Y') }}{{ strftime_now('%d %b')|length }}", SpecialTokens.NONE, "t");
        assertThat(template.render(HELLO, true)).isEqualTo(Year.now(ZoneId.systemDefault()) + "6");
    }
}
