package io.vectune.models.text;

import io.vectune.quant.gguf.GgufFile;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Writes the tokenizer of a GGUF file as Hugging Face has it: `tokenizer.json`, and `tokenizer_config.json` with the
/// special tokens and the chat template. Both give the ids of [GgufTokenizer].
public final class GgufTokenizerFiles {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private GgufTokenizerFiles() {}

    /// Writes both files into a directory.
    ///
    /// @throws VectuneException if the file has no tokenizer, or one that is not supported
    public static void write(GgufFile file, Path directory) {
        GgufKeys keys = new GgufTokenizer.FileKeys(file.origin(), file.metadata());
        // Checks everything that the files below take for granted.
        GgufTokenizer.of(keys);
        StrictJson.write(directory.resolve("tokenizer.json"), tokenizer(keys));
        StrictJson.write(directory.resolve("tokenizer_config.json"), configuration(keys));
    }

    private static ObjectNode tokenizer(GgufKeys keys) {
        List<String> tokens = keys.strings("tokenizer.ggml.tokens");
        int[] types = keys.has("tokenizer.ggml.token_type") ? keys.integers("tokenizer.ggml.token_type") : new int[0];
        String pre = keys.has("tokenizer.ggml.pre") ? keys.string("tokenizer.ggml.pre") : "default";
        GgufTokenizer.Style style = GgufTokenizer.style(pre, keys.origin());
        ObjectNode root = NODES.objectNode();
        root.put("version", "1.0");
        root.putNull("truncation");
        root.putNull("padding");
        ArrayNode added = root.putArray("added_tokens");
        ObjectNode model = NODES.objectNode();
        model.put("type", "BPE");
        model.putNull("dropout");
        model.putNull("unk_token");
        model.putNull("continuing_subword_prefix");
        model.putNull("end_of_word_suffix");
        model.put("fuse_unk", false);
        model.put("byte_fallback", false);
        model.put("ignore_merges", style.ignoreMerges());
        ObjectNode vocabulary = model.putObject("vocab");
        for (int id = 0; id < tokens.size(); id++) {
            int type = types.length == 0 ? 1 : types[id];
            if (type == GgufTokenizer.CONTROL || type == GgufTokenizer.USER_DEFINED) {
                added.add(addedToken(id, tokens.get(id), type == GgufTokenizer.CONTROL));
            }
            if (type != GgufTokenizer.UNUSED) {
                vocabulary.put(tokens.get(id), id);
            }
        }
        ArrayNode merges = model.putArray("merges");
        for (String[] pair : GgufTokenizer.pairs(keys.strings("tokenizer.ggml.merges"), keys.origin())) {
            merges.addArray().add(pair[0]).add(pair[1]);
        }
        root.putNull("normalizer");
        root.set("pre_tokenizer", preTokenizer(style));
        root.set(
                "post_processor",
                postProcessor(
                        tokens,
                        GgufTokenizer.around(keys, tokens, "bos", style.addsBos()),
                        GgufTokenizer.around(keys, tokens, "eos", false)));
        root.set("decoder", byteLevel(true));
        root.set("model", model);
        return root;
    }

    private static ObjectNode addedToken(int id, String content, boolean special) {
        ObjectNode token = NODES.objectNode();
        token.put("id", id);
        token.put("content", content);
        token.put("single_word", false);
        token.put("lstrip", false);
        token.put("rstrip", false);
        token.put("normalized", false);
        token.put("special", special);
        return token;
    }

    private static ObjectNode byteLevel(boolean regex) {
        ObjectNode stage = NODES.objectNode();
        stage.put("type", "ByteLevel");
        stage.put("add_prefix_space", false);
        stage.put("trim_offsets", true);
        stage.put("use_regex", regex);
        return stage;
    }

    private static ObjectNode preTokenizer(GgufTokenizer.Style style) {
        ObjectNode first = NODES.objectNode();
        if (style.pattern() != null) {
            first.put("type", "Split");
            first.putObject("pattern").put("Regex", style.pattern());
            first.put("behavior", "Isolated");
            first.put("invert", false);
        } else if (style.digits()) {
            first.put("type", "Digits");
            first.put("individual_digits", true);
        } else {
            return byteLevel(true);
        }
        ObjectNode sequence = NODES.objectNode();
        sequence.put("type", "Sequence");
        sequence.putArray("pretokenizers").add(first).add(byteLevel(style.pattern() == null));
        return sequence;
    }

    private static ObjectNode postProcessor(List<String> tokens, List<Integer> before, List<Integer> after) {
        if (before.isEmpty() && after.isEmpty()) {
            return byteLevel(true);
        }
        ObjectNode template = NODES.objectNode();
        template.put("type", "TemplateProcessing");
        ArrayNode single = template.putArray("single");
        ArrayNode pair = template.putArray("pair");
        ObjectNode special = NODES.objectNode();
        for (int sequence = 0; sequence < 2; sequence++) {
            for (ArrayNode pieces : sequence == 0 ? List.of(single, pair) : List.of(pair)) {
                before.forEach(id -> pieces.add(special(tokens.get(id), special, id)));
                ObjectNode text = NODES.objectNode();
                text.putObject("Sequence").put("id", sequence == 0 ? "A" : "B").put("type_id", 0);
                pieces.add(text);
                after.forEach(id -> pieces.add(special(tokens.get(id), special, id)));
            }
        }
        template.set("special_tokens", special);
        return template;
    }

    private static ObjectNode special(String token, ObjectNode table, int id) {
        ObjectNode entry = table.putObject(token);
        entry.put("id", token);
        entry.putArray("ids").add(id);
        entry.putArray("tokens").add(token);
        ObjectNode piece = NODES.objectNode();
        piece.putObject("SpecialToken").put("id", token).put("type_id", 0);
        return piece;
    }

    private static ObjectNode configuration(GgufKeys keys) {
        List<String> tokens = keys.strings("tokenizer.ggml.tokens");
        ObjectNode root = NODES.objectNode();
        root.put("tokenizer_class", "PreTrainedTokenizerFast");
        root.put("clean_up_tokenization_spaces", false);
        put(root, "bos_token", GgufTokenizer.named(keys, tokens, "bos"));
        put(root, "eos_token", GgufTokenizer.named(keys, tokens, "eos"));
        put(root, "pad_token", GgufTokenizer.named(keys, tokens, "padding"));
        put(root, "unk_token", GgufTokenizer.named(keys, tokens, "unknown"));
        if (keys.has(GgufTokenizer.CHAT_TEMPLATE)) {
            root.put("chat_template", keys.string(GgufTokenizer.CHAT_TEMPLATE));
        }
        return root;
    }

    private static void put(ObjectNode root, String name, @Nullable String token) {
        if (token != null) {
            root.put(name, token);
        }
    }
}
