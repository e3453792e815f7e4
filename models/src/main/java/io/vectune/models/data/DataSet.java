package io.vectune.models.data;

import io.vectune.models.text.ChatFormat;
import io.vectune.models.text.Tokenizer;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.file.StrictJson;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// The rows of a data file.
///
/// - `.txt`: one document, tokenized as a whole and cut into rows of the maximal length; the loss is on every token.
/// - `.jsonl`: one JSON object a line, all of one kind: `text`; `prompt` and `completion`; `messages`; or `input_ids`
///   with optional `labels` (-100: no loss). Other keys are left alone; empty lines are skipped. A row without a
///   labelled token keeps its place in the batches, as in transformers, and adds nothing to the loss.
public final class DataSet {
    private final String origin;
    private final List<TokenRow> rows;
    private final int truncatedRows;
    private final int unlabelledRows;
    private final int unevenBoundaries;

    private DataSet(String origin, List<TokenRow> rows, RowEncoder encoder) {
        this.origin = origin;
        this.rows = List.copyOf(rows);
        this.truncatedRows = encoder.truncatedRows();
        this.unlabelledRows = encoder.unlabelledRows();
        this.unevenBoundaries = encoder.unevenBoundaries();
    }

    /// Reads a file.
    ///
    /// @param chat the model's chat format; null if it has none, then rows of `messages` are refused
    /// @throws FileFormatException if a line is not what it should be; the message names the file and the line
    /// @throws VectuneException if the file cannot be read or is empty
    public static DataSet load(Path path, Tokenizer tokenizer, @Nullable ChatFormat chat, DataOptions options) {
        TextTools tools =
                new TextTools() {
                    @Override
                    public Tokenizer tokenizer() {
                        return tokenizer;
                    }

                    @Override
                    public @Nullable ChatFormat chat() {
                        return chat;
                    }
                };
        return load(path, tools, options);
    }

    /// Reads a file; the tokenizer is asked for only where the file has text.
    ///
    /// @throws FileFormatException if a line is not what it should be; the message names the file and the line
    /// @throws VectuneException if the file cannot be read or is empty
    public static DataSet load(Path path, TextTools tools, DataOptions options) {
        String name = path.toString().toLowerCase(Locale.ROOT);
        RowEncoder encoder = new RowEncoder(tools, options);
        List<TokenRow> rows;
        if (name.endsWith(".txt")) {
            rows = document(StrictJson.readText(path), encoder, options.maxLength(), path.toString());
        } else if (name.endsWith(".jsonl")) {
            rows = lines(path, encoder);
        } else {
            throw new VectuneException(path + ": expected a data file that ends in .txt or .jsonl");
        }
        if (!rows.isEmpty() && encoder.unlabelledRows() == rows.size()) {
            throw new FileFormatException(
                    path
                            + ": expected a row with a labelled token, found none in "
                            + encoder.unlabelledRows()
                            + " rows of at most "
                            + options.maxLength()
                            + " tokens; raise the max length or shorten the prompts");
        }
        if (rows.isEmpty()) {
            throw new FileFormatException(path + ": expected at least one row, the file is empty");
        }
        return new DataSet(path.toString(), rows, encoder);
    }

    private static List<TokenRow> document(String text, RowEncoder encoder, int maxLength, String origin) {
        if (text.isBlank()) {
            return List.of();
        }
        int[] ids = encoder.document(text, origin);
        List<TokenRow> rows = new ArrayList<>();
        // A rest of one token has nothing to predict.
        for (int from = 0; from + 1 < ids.length; from += maxLength) {
            rows.add(TokenRow.ofText(Arrays.copyOfRange(ids, from, Math.min(from + maxLength, ids.length))));
        }
        return rows;
    }

    private static List<TokenRow> lines(Path path, RowEncoder encoder) {
        List<TokenRow> rows = new ArrayList<>();
        RowKind kind = null;
        int number = 0;
        // Bytes as characters: lines are decoded one by one, so that what is no UTF-8 is found in its line.
        try (BufferedReader reader = Files.newBufferedReader(path, StandardCharsets.ISO_8859_1)) {
            for (String bytes = reader.readLine(); bytes != null; bytes = reader.readLine()) {
                number++;
                String line = decode(bytes);
                if (line.isBlank()) {
                    continue;
                }
                DataLine row = new DataLine(path + ", line " + number, line);
                if (kind == null) {
                    kind = row.kind();
                } else if (row.kind() != kind) {
                    throw row.problem("expected a row with " + kind + " like the rows before, found " + row.kind());
                }
                rows.add(encoder.encode(row));
            }
        } catch (CharacterCodingException e) {
            throw new FileFormatException(path + ", line " + number + ": expected UTF-8, found other bytes", e);
        } catch (IOException e) {
            throw FileFailure.reading(path, e);
        }
        return rows;
    }

    private static String decode(String bytes) throws CharacterCodingException {
        return StandardCharsets.UTF_8
                .newDecoder()
                .decode(ByteBuffer.wrap(bytes.getBytes(StandardCharsets.ISO_8859_1)))
                .toString();
    }

    /// What messages call the file.
    public String origin() {
        return origin;
    }

    /// The rows, in the order of the file.
    public List<TokenRow> rows() {
        return rows;
    }

    /// Tokens of all rows.
    public long tokens() {
        return rows.stream().mapToLong(row -> row.ids().length).sum();
    }

    /// How many rows lost their end to the maximal length.
    public int truncatedRows() {
        return truncatedRows;
    }

    /// How many rows add nothing to the loss because no token that is left of them has a label.
    public int unlabelledRows() {
        return unlabelledRows;
    }

    /// In how many rows the prompt alone gives other tokens than at the head of prompt and answer, so that the border
    /// of the loss falls next to a token that holds text of both.
    public int unevenBoundaries() {
        return unevenBoundaries;
    }
}
