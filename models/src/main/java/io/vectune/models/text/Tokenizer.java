package io.vectune.models.text;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ObjectNode;

/// A byte-level BPE tokenizer: text to token ids and back, with the ids of the reference library.
///
/// Text goes through: added tokens that are matched as written, the normalizer, added tokens that are matched
/// normalized, the pre-tokenizer, the merges, and the template that puts BOS and EOS around. Immutable but for a
/// bounded cache of words; threads may share one.
public final class Tokenizer {
    private static final byte[] NO_BYTES = {};

    /// The parts of a tokenizer, as a file describes them.
    ///
    /// @param normalizer what changes the text first; identity for none
    /// @param preTokenizer splits into words
    /// @param mapped whether words leave the pre-tokenizer in the byte alphabet
    /// @param model merges a word
    /// @param vocabulary the model's tokens
    /// @param added tokens that are found before anything is split
    /// @param before ids that go in front of a text where special tokens are wanted
    /// @param after ids that go behind it
    /// @param special the named tokens
    record Parts(
            UnaryOperator<String> normalizer,
            PreTokenizer preTokenizer,
            boolean mapped,
            BytePairModel model,
            Map<String, Integer> vocabulary,
            List<AddedToken> added,
            List<Integer> before,
            List<Integer> after,
            SpecialTokens special) {}

    private final Parts parts;
    private final AddedTokenMatcher asWritten;
    private final AddedTokenMatcher asNormalized;
    private final String[] tokens;
    private final byte[][] bytes;
    private final BitSet special = new BitSet();

    Tokenizer(Parts parts) {
        this.parts = parts;
        List<AddedToken> added = parts.added;
        asWritten =
                new AddedTokenMatcher(
                        added.stream().filter(token -> !token.normalized()).toList(), UnaryOperator.identity());
        asNormalized = new AddedTokenMatcher(added.stream().filter(AddedToken::normalized).toList(), parts.normalizer);
        int size = 0;
        for (int id : parts.vocabulary.values()) {
            size = Math.max(size, id + 1);
        }
        for (AddedToken token : added) {
            size = Math.max(size, token.id() + 1);
        }
        tokens = new String[size];
        bytes = new byte[size][];
        parts.vocabulary.forEach((token, id) -> tokens[id] = token);
        for (AddedToken token : added) {
            tokens[token.id()] = token.content();
            if (token.special()) {
                special.set(token.id());
            }
        }
        for (int id = 0; id < size; id++) {
            bytes[id] = tokens[id] == null ? NO_BYTES : ByteAlphabet.decode(tokens[id]);
        }
    }

    /// Loads the tokenizer of a model directory (`tokenizer.json`, and `tokenizer_config.json` if it is there) or of a
    /// tokenizer.json file.
    ///
    /// @throws VectuneException if it cannot be read, or needs what this tokenizer does not have
    public static Tokenizer load(Path path) {
        Path file = Files.isDirectory(path) ? path.resolve("tokenizer.json") : path;
        Path config = file.resolveSibling("tokenizer_config.json");
        ObjectNode settings = Files.isRegularFile(config) ? StrictJson.readObject(config) : null;
        if (!Files.isRegularFile(file)) {
            throw new VectuneException(file + ": expected a tokenizer here, found no such file");
        }
        return TokenizerJson.parse(StrictJson.readObject(file), settings, file.toString());
    }

    /// The ids of a text.
    ///
    /// @param addSpecialTokens whether the tokens that the model wants around a text (BOS, EOS) are added; tokens that
    ///   are spelled out in the text are found either way
    public int[] encode(String text, boolean addSpecialTokens) {
        TokenList ids = new TokenList();
        if (addSpecialTokens) {
            parts.before.forEach(ids::add);
        }
        asWritten.split(
                text,
                piece ->
                        asNormalized.split(
                                parts.normalizer.apply(piece),
                                plain ->
                                        parts.preTokenizer.split(
                                                plain, word -> ids.addAll(parts.model.encode(word, parts.mapped))),
                                ids::add),
                ids::add);
        if (addSpecialTokens) {
            parts.after.forEach(ids::add);
        }
        return ids.toArray();
    }

    /// The text of ids. Bytes that are no UTF-8 become U+FFFD; ids that no token has are left out.
    ///
    /// @param skipSpecialTokens whether special tokens are left out
    public String decode(int[] ids, boolean skipSpecialTokens) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(4 * ids.length);
        for (int id : ids) {
            out.writeBytes(bytes(id, skipSpecialTokens));
        }
        return out.toString(StandardCharsets.UTF_8);
    }

    /// A decoder for ids that arrive one by one.
    public StreamingDecoder streamingDecoder(boolean skipSpecialTokens) {
        return new StreamingDecoder(this, skipSpecialTokens);
    }

    byte[] bytes(int id, boolean skipSpecialTokens) {
        return id < 0 || id >= bytes.length || (skipSpecialTokens && special.get(id)) ? NO_BYTES : bytes[id];
    }

    /// One more than the largest id. A model may have more rows than that, never fewer.
    public int vocabularySize() {
        return tokens.length;
    }

    /// The id of a token as the vocabulary spells it: an added token's text, or a word in the byte alphabet.
    public OptionalInt id(String token) {
        for (AddedToken added : parts.added) {
            if (added.content().equals(token)) {
                return OptionalInt.of(added.id());
            }
        }
        Integer id = parts.vocabulary.get(token);
        return id == null ? OptionalInt.empty() : OptionalInt.of(id);
    }

    /// The token of an id as the vocabulary spells it; null if there is none.
    public @Nullable String token(int id) {
        return id < 0 || id >= tokens.length ? null : tokens[id];
    }

    /// Whether decoding can leave this id out.
    public boolean isSpecial(int id) {
        return id >= 0 && special.get(id);
    }

    /// The named tokens.
    public SpecialTokens specialTokens() {
        return parts.special;
    }

    /// The id that begins a sequence, if the model has one.
    public OptionalInt bosId() {
        return named(parts.special.bos());
    }

    /// The id that ends a sequence, if the model has one.
    public OptionalInt eosId() {
        return named(parts.special.eos());
    }

    /// The id that fills rows up, if the model has one.
    public OptionalInt padId() {
        return named(parts.special.pad());
    }

    private OptionalInt named(@Nullable String token) {
        return token == null ? OptionalInt.empty() : id(token);
    }
}
