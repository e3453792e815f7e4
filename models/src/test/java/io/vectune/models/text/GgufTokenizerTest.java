package io.vectune.models.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

class GgufTokenizerTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData"));

    /// Keys and values in memory.
    private record Keys(Map<String, Object> values) implements GgufKeys {
        @Override
        public String origin() {
            return "model.gguf";
        }

        @Override
        public boolean has(String key) {
            return values.containsKey(key);
        }

        private Object get(String key) {
            return Objects.requireNonNull(values.get(key), key);
        }

        @Override
        public String string(String key) {
            return (String) get(key);
        }

        @Override
        public int integer(String key) {
            return (Integer) get(key);
        }

        @Override
        public boolean flag(String key) {
            return (Boolean) get(key);
        }

        @Override
        public List<String> strings(String key) {
            return ((List<?>) get(key)).stream().map(String.class::cast).toList();
        }

        @Override
        public int[] integers(String key) {
            return ((int[]) get(key)).clone();
        }
    }

    /// What a converter to GGUF writes for a tokenizer.json.
    private static Map<String, Object> metadata(String name, String pre) {
        ObjectNode root = StrictJson.readObject(TEST_DATA.resolve("tokenizer/" + name + "/tokenizer.json"));
        Map<Integer, String> byId = new HashMap<>();
        root.at("/model/vocab").properties().forEach(entry -> byId.put(entry.getValue().asInt(), entry.getKey()));
        Map<Integer, Integer> types = new HashMap<>();
        for (JsonNode added : root.get("added_tokens")) {
            byId.put(added.get("id").asInt(), added.get("content").asString());
            types.put(added.get("id").asInt(), added.get("special").asBoolean() ? 3 : 4);
        }
        List<String> merges = new ArrayList<>();
        for (JsonNode merge : root.at("/model/merges")) {
            merges.add(merge.isString() ? merge.asString() : merge.get(0).asString() + " " + merge.get(1).asString());
        }
        Map<String, Object> values = new HashMap<>();
        values.put("tokenizer.ggml.model", "gpt2");
        values.put("tokenizer.ggml.pre", pre);
        values.put("tokenizer.ggml.tokens", IntStream.range(0, byId.size()).mapToObj(byId::get).toList());
        values.put(
                "tokenizer.ggml.token_type",
                IntStream.range(0, byId.size()).map(id -> types.getOrDefault(id, 1)).toArray());
        values.put("tokenizer.ggml.merges", merges);
        return values;
    }

    @ParameterizedTest
    @CsvSource({"smollm2,smollm", "llama3,llama-bpe"})
    void givesTheIdsOfTheTokenizerThatItCameFrom(String name, String pre) {
        Map<String, Object> values = metadata(name, pre);
        Tokenizer own = Tokenizer.load(TEST_DATA.resolve("tokenizer/" + name));
        own.id("<|begin_of_text|>").ifPresent(id -> values.put("tokenizer.ggml.bos_token_id", id));
        Tokenizer tokenizer = GgufTokenizer.of(new Keys(values));
        JsonNode golden = StrictJson.readObject(TEST_DATA.resolve("tokenizer/goldens/" + name + ".json"));
        for (JsonNode fact : golden.get("cases")) {
            String text = fact.get("text").asString();
            int[] expected = fact.get("ids").valueStream().mapToInt(JsonNode::asInt).toArray();
            assertThat(tokenizer.encode(text, true)).as(text).isEqualTo(expected);
            assertThat(tokenizer.decode(expected, true)).isEqualTo(fact.get("decoded").asString());
        }
    }

    @Test
    void readsTheNamedTokensAndSwitches() {
        Map<String, Object> values = metadata("smollm2", "smollm");
        values.put("tokenizer.ggml.bos_token_id", 1);
        values.put("tokenizer.ggml.eos_token_id", 2);
        values.put("tokenizer.ggml.add_bos_token", false);
        Tokenizer without = GgufTokenizer.of(new Keys(values));
        assertThat(without.bosId()).hasValue(1);
        assertThat(without.eosId()).hasValue(2);
        assertThat(without.padId()).isEmpty();
        assertThat(without.encode("a", true)).hasSize(1);
        values.put("tokenizer.ggml.add_bos_token", true);
        values.put("tokenizer.ggml.add_eos_token", true);
        assertThat(GgufTokenizer.of(new Keys(values)).encode("a", true)).hasSize(3).startsWith(1).endsWith(2);
    }

    @Test
    void refusesByName() {
        Map<String, Object> values = metadata("smollm2", "smollm");
        values.put("tokenizer.ggml.pre", "viking");
        assertThatThrownBy(() -> GgufTokenizer.of(new Keys(values)))
                .isInstanceOf(VectuneException.class)
                .hasMessageStartingWith("model.gguf: tokenizer.ggml.pre viking is not supported");
        values.put("tokenizer.ggml.pre", "smollm");
        values.put("tokenizer.ggml.eos_token_id", 99999);
        assertThatThrownBy(() -> GgufTokenizer.of(new Keys(values)))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("tokenizer.ggml.eos_token_id: expected an id below");
        values.put("tokenizer.ggml.merges", List.of("ab"));
        assertThatThrownBy(() -> GgufTokenizer.of(new Keys(values)))
                .hasMessage("model.gguf: tokenizer.ggml.merges[0]: expected two tokens, found ab");
        values.put("tokenizer.ggml.token_type", new int[3]);
        assertThatThrownBy(() -> GgufTokenizer.of(new Keys(values)))
                .hasMessageContaining("entries in tokenizer.ggml.token_type, found 3");
        values.put("tokenizer.ggml.model", "llama");
        assertThatThrownBy(() -> GgufTokenizer.of(new Keys(values)))
                .hasMessageContaining("tokenizer.ggml.model llama is not supported; expected gpt2");
        values.remove("tokenizer.ggml.model");
        assertThatThrownBy(() -> GgufTokenizer.of(new Keys(values))).hasMessageContaining("has no tokenizer");
    }
}
