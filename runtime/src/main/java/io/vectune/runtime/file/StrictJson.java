package io.vectune.runtime.file;

import io.vectune.runtime.FileFormatException;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.TokenStreamLocation;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// JSON files as this project reads and writes them: UTF-8, no duplicate keys, nothing after the document.
public final class StrictJson {
    private static final JsonMapper MAPPER =
            JsonMapper.builder()
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .enable(SerializationFeature.INDENT_OUTPUT)
                    .build();

    private static final Pattern SOURCE_REMARK = Pattern.compile("\\s*\\([^()]*\\[Source:.*?\\]\\)");

    private StrictJson() {}

    /// The mapper with these rules; immutable and thread-safe.
    public static JsonMapper mapper() {
        return MAPPER;
    }

    /// Reads a file that holds one JSON object.
    ///
    /// @throws FileFormatException if it does not; the message names the file, line and column
    /// @throws io.vectune.runtime.VectuneException if the file cannot be read
    public static ObjectNode readObject(Path path) {
        return parseObject(readText(path), path.toString());
    }

    /// Parses text that holds one JSON object.
    ///
    /// @param origin what to call the text in messages: a file's name, perhaps with a line number
    /// @throws FileFormatException if it does not
    public static ObjectNode parseObject(String json, String origin) {
        JsonNode node;
        try {
            node = MAPPER.readTree(json);
        } catch (JacksonException e) {
            boolean oneLine = json.indexOf('\n') < 0;
            throw new FileFormatException(origin + ": not valid JSON: " + (oneLine ? describeLine(e) : describe(e)), e);
        }
        if (node instanceof ObjectNode object) {
            return object;
        }
        throw new FileFormatException(
                origin + ": expected a JSON object, found " + (node.isMissingNode() ? "nothing" : kind(node)));
    }

    /// Reads a text file in UTF-8, strictly.
    public static String readText(Path path) {
        try {
            return Files.readString(path, StandardCharsets.UTF_8);
        } catch (CharacterCodingException e) {
            throw new FileFormatException(path + ": expected text in UTF-8, found other bytes", e);
        } catch (IOException e) {
            throw FileFailure.reading(path, e);
        }
    }

    /// Writes an object, indented, atomically.
    public static void write(Path path, JsonNode node) {
        AtomicFile.write(path, MAPPER.writeValueAsString(node) + "\n");
    }

    /// What a node is, for messages: `a string`, `an array`, ...
    public static String kind(JsonNode node) {
        return switch (node.getNodeType()) {
            case ARRAY -> "an array";
            case OBJECT, POJO -> "an object";
            case STRING, BINARY -> "a string";
            case NUMBER -> "a number";
            case BOOLEAN -> "a boolean";
            case NULL, MISSING -> "null";
        };
    }

    /// One line that says what is wrong and where.
    public static String describe(JacksonException failure) {
        TokenStreamLocation location = failure.getLocation();
        return location == null || location.getLineNr() < 0
                ? reason(failure)
                : reason(failure) + " at line " + location.getLineNr() + ", column " + location.getColumnNr();
    }

    /// The same for a text of one line, whose number the caller knows.
    private static String describeLine(JacksonException failure) {
        TokenStreamLocation location = failure.getLocation();
        return location == null || location.getColumnNr() < 0
                ? reason(failure)
                : reason(failure) + " at column " + location.getColumnNr();
    }

    /// The parser's first line without its remarks on where the source is shown.
    private static String reason(JacksonException failure) {
        String message = failure.getOriginalMessage();
        String line = message == null ? "unreadable" : message.lines().findFirst().orElse("unreadable");
        return SOURCE_REMARK.matcher(line).replaceAll("");
    }
}
