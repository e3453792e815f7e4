package io.vectune.models.text;

import io.vectune.quant.gguf.GgufFile;
import io.vectune.quant.gguf.GgufMetadata;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Builds a [Tokenizer] from the metadata of a GGUF file: `tokenizer.ggml.*`.
///
/// The file names its pre-tokenizer (`tokenizer.ggml.pre`) instead of giving its pattern; the patterns are those that
/// the models' own tokenizer.json files have. A name that is not known here is refused, as any guess would give wrong
/// ids on some text.
public final class GgufTokenizer {
    /// The key of the chat template.
    public static final String CHAT_TEMPLATE = "tokenizer.chat_template";

    static final int CONTROL = 3;
    static final int USER_DEFINED = 4;
    static final int UNUSED = 5;

    private static final String CASES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
    private static final String REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    private static final String LLAMA3 = CASES + "\\p{N}{1,3}" + REST;
    private static final String QWEN2 = CASES + "\\p{N}" + REST;
    private static final String GPT4O =
            "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                    + "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                    + "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

    private GgufTokenizer() {}

    /// The tokenizer of an open file. Nothing of the file is used afterwards.
    ///
    /// @throws VectuneException if the file has no tokenizer, another kind of tokenizer, or contradicts itself
    public static Tokenizer of(GgufFile file) {
        return of(new FileKeys(file.origin(), file.metadata()));
    }

    record FileKeys(String origin, GgufMetadata metadata) implements GgufKeys {
        @Override
        public boolean has(String key) {
            return metadata.has(key);
        }

        @Override
        public String string(String key) {
            return metadata.string(key);
        }

        @Override
        public int integer(String key) {
            return metadata.integer(key);
        }

        @Override
        public boolean flag(String key) {
            return metadata.flag(key);
        }

        @Override
        public List<String> strings(String key) {
            return metadata.strings(key);
        }

        @Override
        public int[] integers(String key) {
            return metadata.integers(key);
        }
    }

    /// Whether a file has a tokenizer that [#of] can build.
    public static boolean isSupported(GgufKeys keys) {
        return keys.has("tokenizer.ggml.model") && keys.string("tokenizer.ggml.model").equals("gpt2");
    }

    /// @throws VectuneException if the file has no tokenizer, another kind of tokenizer, or contradicts itself
    public static Tokenizer of(GgufKeys keys) {
        String origin = keys.origin();
        if (!keys.has("tokenizer.ggml.model")) {
            throw new VectuneException(origin + ": has no tokenizer (no key tokenizer.ggml.model)");
        }
        if (!isSupported(keys)) {
            throw new VectuneException(
                    origin
                            + ": tokenizer.ggml.model "
                            + keys.string("tokenizer.ggml.model")
                            + " is not supported; expected gpt2 (byte-level BPE)");
        }
        List<String> tokens = keys.strings("tokenizer.ggml.tokens");
        int[] types = keys.has("tokenizer.ggml.token_type") ? keys.integers("tokenizer.ggml.token_type") : null;
        if (types != null && types.length != tokens.size()) {
            throw new FileFormatException(
                    origin
                            + ": expected "
                            + tokens.size()
                            + " entries in tokenizer.ggml.token_type, found "
                            + types.length);
        }
        Map<String, Integer> vocabulary = HashMap.newHashMap(tokens.size());
        List<AddedToken> added = new ArrayList<>();
        for (int id = 0; id < tokens.size(); id++) {
            String token = tokens.get(id);
            int type = types == null ? 1 : types[id];
            if (type == CONTROL || type == USER_DEFINED) {
                added.add(AddedToken.plain(id, token, type == CONTROL));
            }
            if (type != UNUSED) {
                vocabulary.put(token, id);
            }
        }
        String pre = keys.has("tokenizer.ggml.pre") ? keys.string("tokenizer.ggml.pre") : "default";
        Style style = style(pre, origin);
        BytePairModel model;
        try {
            MergeTable merges = BytePairModel.merges(pairs(keys.strings("tokenizer.ggml.merges"), origin), vocabulary);
            model = new BytePairModel(vocabulary, merges, style.ignoreMerges(), -1, false);
        } catch (IllegalArgumentException e) {
            throw new FileFormatException(origin + ": " + e.getMessage(), e);
        }
        return new Tokenizer(
                new Tokenizer.Parts(
                        UnaryOperator.identity(),
                        style.preTokenizer(),
                        false,
                        model,
                        vocabulary,
                        added,
                        around(keys, tokens, "bos", style.addsBos()),
                        around(keys, tokens, "eos", false),
                        new SpecialTokens(
                                named(keys, tokens, "bos"),
                                named(keys, tokens, "eos"),
                                named(keys, tokens, "padding"),
                                named(keys, tokens, "unknown"))));
    }

    static List<String[]> pairs(List<String> merges, String origin) {
        List<String[]> pairs = new ArrayList<>(merges.size());
        for (String merge : merges) {
            // A token of the byte alphabet has no space, so the one in the middle separates.
            int space = merge.indexOf(' ');
            if (space <= 0 || space == merge.length() - 1 || merge.indexOf(' ', space + 1) >= 0) {
                throw new FileFormatException(
                        origin + ": tokenizer.ggml.merges[" + pairs.size() + "]: expected two tokens, found " + merge);
            }
            pairs.add(new String[] {merge.substring(0, space), merge.substring(space + 1)});
        }
        return pairs;
    }

    static @Nullable String named(GgufKeys keys, List<String> tokens, String name) {
        String key = "tokenizer.ggml." + name + "_token_id";
        if (!keys.has(key)) {
            return null;
        }
        int id = keys.integer(key);
        if (id < 0 || id >= tokens.size()) {
            throw new FileFormatException(
                    keys.origin() + ": " + key + ": expected an id below " + tokens.size() + ", found " + id);
        }
        return tokens.get(id);
    }

    static List<Integer> around(GgufKeys keys, List<String> tokens, String name, boolean byDefault) {
        String key = "tokenizer.ggml.add_" + name + "_token";
        boolean wanted = keys.has(key) ? keys.flag(key) : byDefault;
        return wanted && named(keys, tokens, name) != null
                ? List.of(keys.integer("tokenizer.ggml." + name + "_token_id"))
                : List.of();
    }

    /// How a family of models cuts text before byte pairs are merged.
    ///
    /// @param pattern the pattern of its Split stage, null for the one of GPT-2
    /// @param digits whether digits are cut into single ones first
    record Style(@Nullable String pattern, boolean digits, boolean ignoreMerges, boolean addsBos) {
        PreTokenizer preTokenizer() {
            if (pattern != null) {
                return split(pattern);
            }
            PreTokenizer bytes = new PreTokenizer.ByteLevel(false, true, false);
            return digits ? new PreTokenizer.Sequence(List.of(PreTokenizer.digits(true), bytes)) : bytes;
        }
    }

    static Style style(String pre, String origin) {
        return switch (pre) {
            case "gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "granite-docling", "trillion", "roberta-bpe" ->
                    new Style(null, false, false, false);
            case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b" ->
                    new Style(null, true, false, false);
            case "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2" ->
                    new Style(LLAMA3, false, true, true);
            case "dbrx", "smaug-bpe" -> new Style(LLAMA3, false, false, false);
            case "qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan" -> new Style(QWEN2, false, false, false);
            case "gpt-4o", "llama4", "kormo" -> new Style(GPT4O, false, false, false);
            default ->
                    throw new VectuneException(
                            origin
                                    + ": tokenizer.ggml.pre "
                                    + pre
                                    + " is not supported; expected one of gpt-2, llama-bpe, qwen2, smollm, gpt-4o and"
                                    + " their relatives; use the model's directory with tokenizer.json");
        };
    }

    private static PreTokenizer split(String pattern) {
        Pattern compiled = OnigurumaPattern.compile(pattern);
        return new PreTokenizer.Split(compiled, PreTokenizer.Behavior.ISOLATED, false);
    }
}
