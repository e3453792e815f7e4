package io.vectune.models.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

class TokenizerTest {
    private static final Path TEST_DATA = Path.of(System.getProperty("vectune.testData"));

    private static Path file(String name) {
        Path own = TEST_DATA.resolve("tokenizer").resolve(name).resolve("tokenizer.json");
        return Files.exists(own) ? own : TEST_DATA.resolve(name).resolve("tokenizer.json");
    }

    private static int[] ids(JsonNode node) {
        return node.valueStream().mapToInt(JsonNode::asInt).toArray();
    }

    @ParameterizedTest
    @ValueSource(strings = {"gpt2", "gpt2-prefix-space", "llama3", "qwen2", "smollm2", "tiny-llama"})
    void givesTheIdsAndTextsOfTheReferenceLibrary(String name) {
        Tokenizer tokenizer = Tokenizer.load(file(name));
        ObjectNode golden = StrictJson.readObject(TEST_DATA.resolve("tokenizer/goldens/" + name + ".json"));
        assertThat(tokenizer.vocabularySize()).isEqualTo(golden.get("vocabulary_size").asInt());
        for (JsonNode fact : golden.get("cases")) {
            String text = fact.get("text").asString();
            int[] expected = ids(fact.get("ids"));
            assertThat(tokenizer.encode(text, true)).as("%s: %s", name, text).isEqualTo(expected);
            assertThat(tokenizer.encode(text, false)).as(text).isEqualTo(ids(fact.get("ids_without_special")));
            checkDecoding(tokenizer, expected, fact);
        }
        for (JsonNode fact : golden.get("decodes")) {
            checkDecoding(tokenizer, ids(fact.get("ids")), fact);
        }
    }

    private static void checkDecoding(Tokenizer tokenizer, int[] ids, JsonNode fact) {
        assertThat(tokenizer.decode(ids, true)).isEqualTo(fact.get("decoded").asString());
        String whole = fact.get("decoded_with_special").asString();
        assertThat(tokenizer.decode(ids, false)).isEqualTo(whole);
        StreamingDecoder stream = tokenizer.streamingDecoder(false);
        StringBuilder parts = new StringBuilder();
        for (int id : ids) {
            parts.append(stream.add(id));
        }
        assertThat(parts.append(stream.finish()).toString()).as(Arrays.toString(ids)).isEqualTo(whole);
    }

    @Test
    void streamingGivesWholeCharactersOnly() {
        Tokenizer tokenizer = Tokenizer.load(file("gpt2"));
        int[] ids = tokenizer.encode("\u00fc\ud83e\udd80z", false);
        StreamingDecoder stream = tokenizer.streamingDecoder(true);
        List<String> parts = new ArrayList<>();
        for (int id : ids) {
            parts.add(stream.add(id));
        }
        assertThat(parts).allSatisfy(part -> assertThat(part).doesNotContain("\ufffd"));
        assertThat(String.join("", parts)).isEqualTo("\u00fc\ud83e\udd80z");
        stream.add(tokenizer.encode("\u00fc", false)[0]);
    }

    /// Any words over a few letters: scan and heap are two ways to the same merges.
    @Test
    void theHeapMergesAsTheScanDoes() {
        Tokenizer tokenizer = Tokenizer.load(file("gpt2"));
        SplittableRandom random = new SplittableRandom(7);
        for (int round = 0; round < 300; round++) {
            String word =
                    random.ints(random.nextInt(1, 80), 0, 8)
                            .mapToObj(letter -> "thenaigs".substring(letter, letter + 1))
                            .collect(Collectors.joining());
            assertThat(tokenizer.encode(word, false)).as(word).isEqualTo(mergeNaively(word));
        }
    }

    private static int[] mergeNaively(String word) {
        ObjectNode model = (ObjectNode) StrictJson.readObject(file("gpt2")).get("model");
        List<String> symbols = new ArrayList<>(word.chars().mapToObj(Character::toString).toList());
        for (boolean merged = true; merged; ) {
            merged = false;
            for (JsonNode merge : model.get("merges")) {
                String[] pair = merge.asString().split(" ", -1);
                for (int i = 0; i + 1 < symbols.size() && !merged; i++) {
                    if (symbols.get(i).equals(pair[0]) && symbols.get(i + 1).equals(pair[1])) {
                        symbols.set(i, pair[0] + pair[1]);
                        symbols.remove(i + 1);
                        merged = true;
                    }
                }
                if (merged) {
                    break;
                }
            }
        }
        return symbols.stream().mapToInt(symbol -> model.get("vocab").get(symbol).asInt()).toArray();
    }

    @Test
    @Timeout(10)
    void aWordOfAMegabyteTakesSeconds() {
        Tokenizer tokenizer = Tokenizer.load(file("llama3"));
        String word = "the".repeat(350_000);
        int[] ids = tokenizer.encode(word, false);
        assertThat(tokenizer.decode(ids, false)).isEqualTo(word);
        for (String hard :
                new String[] {" ".repeat(1 << 20), "\n".repeat(1 << 20), "A".repeat(1 << 20), "!".repeat(1 << 20)}) {
            assertThat(tokenizer.decode(tokenizer.encode(hard, false), false)).isEqualTo(hard);
        }
    }

    @Test
    void namesTokens() {
        Tokenizer tokenizer = Tokenizer.load(TEST_DATA.resolve("tiny-llama"));
        assertThat(tokenizer.id("<|im_end|>")).hasValue(2);
        assertThat(tokenizer.token(2)).isEqualTo("<|im_end|>");
        assertThat(tokenizer.isSpecial(2)).isTrue();
        assertThat(tokenizer.isSpecial(20)).isFalse();
        assertThat(tokenizer.bosId()).hasValue(0);
        assertThat(tokenizer.eosId()).hasValue(0);
        assertThat(tokenizer.padId()).hasValue(0);
        assertThat(tokenizer.token(-1)).isNull();
        assertThat(tokenizer.id("no such token")).isEmpty();
    }

    @Test
    void theSwitchesOfTheConfigReplaceTheTemplate() {
        ObjectNode root = StrictJson.readObject(file("llama3"));
        String bos = "\"bos_token\":\"<|begin_of_text|>\",\"eos_token\":{\"content\":\"<|im_end|>\"}";
        Tokenizer plain = TokenizerJson.parse(root, null, "x");
        Tokenizer off =
                TokenizerJson.parse(root, StrictJson.parseObject("{\"add_bos_token\":false," + bos + "}", "c"), "x");
        Tokenizer eos =
                TokenizerJson.parse(root, StrictJson.parseObject("{\"add_eos_token\":true," + bos + "}", "c"), "x");
        int[] ids = plain.encode("a", false);
        assertThat(off.encode("a", true)).isEqualTo(ids);
        assertThat(plain.encode("a", true)).hasSize(2).startsWith(plain.id("<|begin_of_text|>").getAsInt());
        assertThat(eos.encode("a", true)).hasSize(2).endsWith(plain.id("<|im_end|>").getAsInt());
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "/model|type|Unigram|model.type Unigram is not supported; expected BPE",
                "/model|end_of_word_suffix|</w>|model.end_of_word_suffix is not supported; expected none",
                "/model|vocab|x|expected an object model.vocab, found a string",
                "/model|unk_token|nix|model.unk_token nix is not in the vocabulary",
                "/normalizer|type|Lowercase|the normalizer Lowercase is not supported; expected NFC",
                "/pre_tokenizer|type|Metaspace|the pre_tokenizer Metaspace is not supported; expected ByteLevel",
                "/post_processor|type|BertProcessing|the post_processor BertProcessing is not supported",
                "/decoder|type|Metaspace|the decoder Metaspace is not supported; expected ByteLevel",
                "/pre_tokenizer/pretokenizers/0|behavior|Odd|the Split behavior Odd is not supported",
            })
    void refusesByName(String at, String key, String value, String message) {
        ObjectNode root = StrictJson.readObject(file("qwen2"));
        ((ObjectNode) root.at(at)).put(key, value);
        assertThatThrownBy(() -> TokenizerJson.parse(root, null, "dir/tokenizer.json"))
                .isInstanceOf(VectuneException.class)
                .hasMessageStartingWith("dir/tokenizer.json: ")
                .hasMessageContaining(message);
    }

    @Test
    void refusesMergesAndIdsThatCannotBe() {
        ObjectNode root = StrictJson.readObject(file("qwen2"));
        ArrayNode merges = (ArrayNode) root.at("/model/merges");
        merges.add("a b c");
        assertThatThrownBy(() -> TokenizerJson.parse(root, null, "t"))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("expected two tokens, found \"a b c\"");
        merges.set(merges.size() - 1, "zq qz");
        assertThatThrownBy(() -> TokenizerJson.parse(root, null, "t"))
                .isInstanceOf(FileFormatException.class)
                .hasMessageContaining("needs the token zq, which is not in the vocabulary");
        merges.remove(merges.size() - 1);
        ((ObjectNode) root.at("/model/vocab")).put("!", -3);
        assertThatThrownBy(() -> TokenizerJson.parse(root, null, "t"))
                .hasMessage("t: model.vocab !: expected an id from 0 to 2^24-1, found -3");
        assertThatThrownBy(() -> Tokenizer.load(TEST_DATA))
                .hasMessageContaining("tokenizer.json: expected a tokenizer here, found no such file");
    }

    @Test
    void splitsBehaveAsNamed() {
        String text = "a1b22c";
        assertThat(split(PreTokenizer.Behavior.REMOVED, false, text)).containsExactly("a", "b", "c");
        assertThat(split(PreTokenizer.Behavior.ISOLATED, false, text)).containsExactly("a", "1", "b", "2", "2", "c");
        assertThat(split(PreTokenizer.Behavior.MERGED_WITH_PREVIOUS, false, text))
                .containsExactly("a1", "b2", "2", "c");
        assertThat(split(PreTokenizer.Behavior.MERGED_WITH_NEXT, false, text)).containsExactly("a", "1b", "2", "2c");
        assertThat(split(PreTokenizer.Behavior.CONTIGUOUS, false, text)).containsExactly("a", "1", "b", "22", "c");
        assertThat(split(PreTokenizer.Behavior.REMOVED, true, text)).containsExactly("1", "2", "2");
    }

    private static List<String> split(PreTokenizer.Behavior behavior, boolean inverted, String text) {
        List<String> pieces = new ArrayList<>();
        new PreTokenizer.Split(OnigurumaPattern.compile("\\d"), behavior, inverted).split(text, pieces::add);
        return pieces;
    }

    @Test
    void patternsKeepTheirMeaning() {
        assertThat(OnigurumaPattern.compile("\\p{Han}").matcher("\u6f22").matches()).isTrue();
        assertThat(OnigurumaPattern.compile("\\p{^L}").matcher("a").matches()).isFalse();
        assertThat(OnigurumaPattern.compile("[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+").matcher(" \u00fcber").matches()).isTrue();
        assertThat(OnigurumaPattern.compile("\\s+").matcher("\u00a0\u3000\u0085").matches()).isTrue();
        assertThatThrownBy(() -> OnigurumaPattern.compile("\\p{N}{1,3}+")).hasMessageContaining("not supported");
        assertThatThrownBy(() -> OnigurumaPattern.compile("(a")).hasMessageContaining("is not understood");
    }
}
