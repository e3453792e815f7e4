package io.vectune.models.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.Tokenizer;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DataSetTest {
    private static final DataOptions PLAIN = new DataOptions(512, false, 576);
    private static final ChatFormat CHAT = DataSetTest::render;

    private static Tokenizer tokenizer;

    @TempDir Path folder;

    @BeforeAll
    static void load() {
        tokenizer = Tokenizer.load(Path.of(System.getProperty("vectune.testData"), "tiny-llama"));
    }

    private static String render(List<Map<String, Object>> messages, boolean addGenerationPrompt) {
        StringBuilder text = new StringBuilder();
        for (Map<String, Object> message : messages) {
            if ("wizard".equals(message.get("role"))) {
                throw new VectuneException("no wizards");
            }
            text.append("<|im_start|>").append(message.get("role")).append('\n').append(message.get("content"));
            text.append("<|im_end|>\n");
        }
        return text.append(addGenerationPrompt ? "<|im_start|>assistant\n" : "").toString();
    }

    private DataSet read(String name, DataOptions options, String... lines) throws IOException {
        Path file = Files.writeString(folder.resolve(name), String.join("\n", lines));
        return DataSet.load(file, tokenizer, CHAT, options);
    }

    private TokenRow only(DataOptions options, String line) throws IOException {
        DataSet data = read("a.jsonl", options, line);
        assertThat(data.rows()).hasSize(1);
        return data.rows().getFirst();
    }

    private String labelled(TokenRow row) {
        return tokenizer.decode(
                IntStream.range(0, row.ids().length)
                        .filter(i -> row.labels()[i] != -100)
                        .peek(i -> assertThat(row.labels()[i]).isEqualTo(row.ids()[i]))
                        .map(i -> row.ids()[i])
                        .toArray(),
                false);
    }

    @Test
    void textRowsAreWhatTheTokenizerGives() throws IOException {
        TokenRow row = only(PLAIN, "{\"text\": \"Mia was in the garden.\", \"id\": 7}");
        assertThat(row.ids()).isEqualTo(tokenizer.encode("Mia was in the garden.", true));
        assertThat(row.labels()).isEqualTo(row.ids());
        DataOptions appending = new DataOptions(512, true, 576);
        assertThat(only(appending, "{\"text\": \"Mia was\"}").ids())
                .endsWith(0)
                .hasSize(tokenizer.encode("Mia was", true).length + 1);
        assertThat(only(appending, "{\"text\": \"Mia was<|endoftext|>\"}").ids())
                .isEqualTo(tokenizer.encode("Mia was<|endoftext|>", true));
    }

    @Test
    void completionsCarryTheLoss() throws IOException {
        TokenRow row =
                only(PLAIN, "{\"prompt\": \"Mirror: Tom showed. =\", \"completion\": \" Mia showed.<|endoftext|>\"}");
        assertThat(tokenizer.decode(row.ids(), false)).isEqualTo("Mirror: Tom showed. = Mia showed.<|endoftext|>");
        assertThat(labelled(row)).isEqualTo(" Mia showed.<|endoftext|>");
        assertThat(read("a.jsonl", PLAIN, "{\"prompt\": \"a =\", \"completion\": \" b\"}").unevenBoundaries()).isZero();
        // "th" and "e" merge across the border.
        assertThat(read("a.jsonl", PLAIN, "{\"prompt\": \"in t\", \"completion\": \"he garden\"}").unevenBoundaries())
                .isOne();
    }

    @Test
    void answersCarryTheLoss() throws IOException {
        TokenRow row =
                only(
                        PLAIN,
                        """
                        {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}, \
                        {"role": "user", "content": "And?"}, {"role": "assistant", "content": "There."}]}\
                        """);
        assertThat(labelled(row)).isEqualTo("Here.<|im_end|>\nThere.<|im_end|>\n");
        assertThat(tokenizer.decode(row.ids(), false))
                .startsWith("<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n");
    }

    @Test
    void idsComeAsTheyAre() throws IOException {
        TokenRow row = only(PLAIN, "{\"input_ids\": [1, 2, 3]}");
        assertThat(row.ids()).containsExactly(1, 2, 3);
        assertThat(row.labels()).containsExactly(1, 2, 3);
        row = only(PLAIN, "{\"input_ids\": [1, 2, 3], \"labels\": [-100, -100, 5]}");
        assertThat(row.labels()).containsExactly(-100, -100, 5);
    }

    @Test
    void longRowsLoseTheirEnd() throws IOException {
        DataSet data =
                read(
                        "a.jsonl",
                        new DataOptions(2, false, 576),
                        "{\"input_ids\": [1, 2, 3]}",
                        "",
                        "{\"input_ids\": [4, 5]}",
                        "");
        assertThat(data.rows()).hasSize(2);
        assertThat(data.rows().getFirst().ids()).containsExactly(1, 2);
        assertThat(data.truncatedRows()).isOne();
        assertThat(data.tokens()).isEqualTo(4);
    }

    @Test
    void rowsWithoutALabelKeepTheirPlace() throws IOException {
        String cut = "{\"input_ids\": [1, 2, 3], \"labels\": [-100, -100, 3]}";
        String masked = "{\"input_ids\": [1, 2], \"labels\": [1, -100]}";
        DataOptions options = new DataOptions(2, false, 576);
        DataSet data = read("a.jsonl", options, cut, "{\"input_ids\": [4, 5, 6]}", masked, "{\"input_ids\": [7, 8]}");
        assertThat(data.rows().stream().map(row -> row.ids()[0])).containsExactly(1, 4, 1, 7);
        assertThat(data.rows().stream().map(TokenRow::isLabelled)).containsExactly(false, true, false, true);
        assertThat(data.unlabelledRows()).isEqualTo(2);
        assertThat(data.truncatedRows()).isEqualTo(2);
        assertThatThrownBy(() -> read("a.jsonl", options, cut, masked))
                .isInstanceOf(FileFormatException.class)
                .hasMessageEndingWith(
                        "a.jsonl: expected a row with a labelled token, found none in 2 rows of at most 2 tokens;"
                                + " raise the max length or shorten the prompts");
        assertThat(
                        read(
                                        "a.jsonl",
                                        PLAIN,
                                        "{\"prompt\": \"Mia was\", \"completion\": \"\"}",
                                        "{\"prompt\": \"Mia was\", \"completion\": \" in\"}")
                                .unlabelledRows())
                .isOne();
    }

    @Test
    void aDocumentIsCutIntoRows() throws IOException {
        String text = "Mia was in the garden. Mia had a big ball.\n";
        int[] whole = tokenizer.encode(text, true);
        DataSet data = read("a.txt", new DataOptions(5, false, 576), text.strip(), "");
        assertThat(data.rows().stream().flatMapToInt(row -> Arrays.stream(row.ids())).toArray()).isEqualTo(whole);
        assertThat(data.rows()).allSatisfy(row -> assertThat(row.ids().length).isBetween(2, 5));
        DataSet rest = read("b.txt", new DataOptions(whole.length - 1, false, 576), text.strip(), "");
        assertThat(rest.rows()).hasSize(1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'text': 'x|line 2: not valid JSON",
                "['text']|line 2: expected a JSON object, found an array",
                "{'text': 7}|line 2: expected a string text, found a number",
                "{'words': 'x'}|line 2: expected the keys text, or prompt and completion, or messages, or input_ids; found words",
                "{'text': 'x', 'input_ids': [1]}|line 2: expected the keys",
                "{'prompt': 'x', 'completion': 'y'}|line 2: expected a row with text like the rows before, found prompt and completion",
                "{'text': ''}|line 2: expected at least 2 tokens (one to see, one to predict), found 0",
                "{'text': 'a', 'text': 'b'}|line 2: not valid JSON: Duplicate Object property",
            })
    void brokenTextLinesAreNamed(String line, String message) {
        assertThatThrownBy(() -> read("a.jsonl", PLAIN, "{\"text\": \"fine text\"}", line.replace('\'', '"')))
                .isInstanceOf(FileFormatException.class)
                .hasMessageStartingWith(folder.resolve("a.jsonl") + ", ")
                .hasMessageContaining(message)
                .hasMessageNotContaining("\n");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{'prompt': 'x'}|expected a string completion, found none",
                "{'prompt': ['x'], 'completion': 'y'}|expected a string prompt, found an array",
                "{'input_ids': [1, 2], 'labels': [1]}|expected as many labels as input_ids, found 1 and 2",
                "{'input_ids': [1, 576]}|input_ids[1] is 576, expected an id from 0 to 575",
                "{'input_ids': [1, -1]}|input_ids[1] is -1, expected an id from 0 to 575",
                "{'input_ids': [1, 2], 'labels': [1, 999]}|labels[1] is 999, expected an id from 0 to 575 (or -100)",
                "{'input_ids': [1, 2.5]}|input_ids[1]: expected a whole number, found 2.5",
                "{'input_ids': 'x'}|expected an array input_ids of whole numbers, found a string",
                "{'messages': []}|expected a non-empty array messages, found an array",
                "{'messages': [{'content': 'x'}]}|messages[0]: expected an object with a string role",
                "{'messages': [{'role': 'user'}]}|messages[0]: has no content",
                "{'messages': [{'role': 'user', 'content': 'x'}]}|expected a message of the role assistant, found none",
                "{'messages': [{'role': 'wizard', 'content': 'x'}]}|line 1: no wizards",
            })
    void brokenRowsAreNamed(String line, String message) {
        assertThatThrownBy(() -> read("a.jsonl", PLAIN, line.replace('\'', '"')))
                .isInstanceOf(FileFormatException.class)
                .hasMessageStartingWith(folder.resolve("a.jsonl") + ", line 1: ")
                .hasMessageContaining(message);
    }

    @Test
    void filesThatCannotBeRowsAreNamed() throws IOException {
        assertThatThrownBy(() -> read("a.jsonl", PLAIN, "", "  "))
                .hasMessage(folder.resolve("a.jsonl") + ": expected at least one row, the file is empty");
        assertThatThrownBy(() -> read("a.txt", PLAIN, "")).hasMessageContaining("the file is empty");
        assertThatThrownBy(() -> read("a.csv", PLAIN, "x"))
                .hasMessage(folder.resolve("a.csv") + ": expected a data file that ends in .txt or .jsonl");
        Path none = folder.resolve("none.jsonl");
        assertThatThrownBy(() -> DataSet.load(none, tokenizer, CHAT, PLAIN))
                .hasMessage(none + ": cannot be read: no such file or directory");
        Path latin = Files.write(folder.resolve("l.jsonl"), new byte[] {'{', (byte) 0xff, '}'});
        assertThatThrownBy(() -> DataSet.load(latin, tokenizer, CHAT, PLAIN))
                .hasMessage(latin + ", line 1: expected UTF-8, found other bytes");
        Path second = folder.resolve("second.jsonl");
        Files.writeString(
                second, "{\"input_ids\": [1, 2]}\r\n{\"input_ids\": \"\u00ff\"}", StandardCharsets.ISO_8859_1);
        assertThatThrownBy(() -> DataSet.load(second, tokenizer, CHAT, PLAIN))
                .hasMessage(second + ", line 2: expected UTF-8, found other bytes");
        Path chat =
                Files.writeString(folder.resolve("c.jsonl"), "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}");
        assertThatThrownBy(() -> DataSet.load(chat, tokenizer, null, PLAIN))
                .hasMessageContaining("the model has no chat template");
        assertThatThrownBy(() -> new DataOptions(1, false, 5)).hasMessageContaining("expected at least 2 tokens");
    }
}
