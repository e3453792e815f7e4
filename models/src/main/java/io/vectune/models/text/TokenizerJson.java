package io.vectune.models.text;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.StrictJson;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// Builds a [Tokenizer] from `tokenizer.json`. What is not supported is refused by its name, never left out.
final class TokenizerJson {
    private final String origin;
    private final ObjectNode root;
    private final @Nullable ObjectNode config;
    private final Map<String, Integer> vocabulary = new HashMap<>();
    private final Map<String, AddedToken> added = new LinkedHashMap<>();

    private TokenizerJson(ObjectNode root, @Nullable ObjectNode config, String origin) {
        this.origin = origin;
        this.root = root;
        this.config = config;
    }

    /// @param root the content of tokenizer.json
    /// @param config the content of tokenizer_config.json, if there is one
    /// @param origin the file, for messages
    static Tokenizer parse(ObjectNode root, @Nullable ObjectNode config, String origin) {
        return new TokenizerJson(root, config, origin).build();
    }

    private Tokenizer build() {
        BytePairModel model = readModel(object(root.get("model"), "model"));
        readAdded();
        UnaryOperator<String> normalizer = readNormalizer(root.get("normalizer"));
        List<PreTokenizer> stages = new ArrayList<>();
        readPreTokenizer(root.get("pre_tokenizer"), stages);
        boolean mapped = deferMapping(stages);
        SpecialTokens special =
                config == null
                        ? SpecialTokens.NONE
                        : new SpecialTokens(
                                named("bos_token"), named("eos_token"), named("pad_token"), named("unk_token"));
        List<Integer> before = new ArrayList<>();
        List<Integer> after = new ArrayList<>();
        readTemplate(special, before, after);
        checkDecoder(root.get("decoder"));
        return new Tokenizer(
                new Tokenizer.Parts(
                        normalizer,
                        stages.size() == 1 ? stages.getFirst() : new PreTokenizer.Sequence(stages),
                        mapped,
                        model,
                        vocabulary,
                        List.copyOf(added.values()),
                        before,
                        after,
                        special));
    }

    private BytePairModel readModel(ObjectNode model) {
        String type = model.path("type").asString("BPE");
        if (!type.equals("BPE")) {
            throw unsupported("model.type " + type, "BPE");
        }
        for (String key : new String[] {"continuing_subword_prefix", "end_of_word_suffix"}) {
            if (!model.path(key).asString("").isEmpty()) {
                throw unsupported("model." + key, "none");
            }
        }
        if (model.path("byte_fallback").asBoolean(false)) {
            throw unsupported("model.byte_fallback", "a byte-level vocabulary");
        }
        if (model.path("dropout").asDouble(0) != 0) {
            throw unsupported("model.dropout", "none");
        }
        for (Map.Entry<String, JsonNode> entry : object(model.get("vocab"), "model.vocab").properties()) {
            vocabulary.put(entry.getKey(), id(entry.getValue(), "model.vocab " + entry.getKey()));
        }
        JsonNode list = model.path("merges");
        List<String[]> merges = new ArrayList<>(list.size());
        for (JsonNode merge : list) {
            String[] pair =
                    merge.isArray()
                            ? merge.valueStream().map(part -> part.asString("")).toArray(String[]::new)
                            : merge.asString("").split(" ", -1);
            if (pair.length != 2) {
                throw new FileFormatException(
                        origin + ": merge " + merges.size() + ": expected two tokens, found " + merge);
            }
            merges.add(pair);
        }
        Integer unknown = -1;
        String unknownToken = model.path("unk_token").asString("");
        if (!unknownToken.isEmpty()) {
            unknown = vocabulary.get(unknownToken);
            if (unknown == null) {
                throw new FileFormatException(
                        origin + ": model.unk_token " + unknownToken + " is not in the vocabulary");
            }
        }
        try {
            return new BytePairModel(
                    vocabulary,
                    BytePairModel.merges(merges, vocabulary),
                    model.path("ignore_merges").asBoolean(false),
                    unknown,
                    model.path("fuse_unk").asBoolean(false));
        } catch (IllegalArgumentException e) {
            throw new FileFormatException(origin + ": " + e.getMessage(), e);
        }
    }

    private void readAdded() {
        for (JsonNode node : root.path("added_tokens")) {
            addToken(node, id(node.path("id"), "added_tokens"));
        }
        if (config != null && config.get("added_tokens_decoder") instanceof ObjectNode more) {
            for (Map.Entry<String, JsonNode> entry : more.properties()) {
                if (!added.containsKey(entry.getValue().path("content").asString(""))) {
                    try {
                        addToken(entry.getValue(), Integer.parseInt(entry.getKey()));
                    } catch (NumberFormatException e) {
                        throw new FileFormatException(
                                "tokenizer_config.json beside "
                                        + origin
                                        + ": added_tokens_decoder: expected an id, found "
                                        + entry.getKey(),
                                e);
                    }
                }
            }
        }
    }

    private void addToken(JsonNode node, int id) {
        String content = node.path("content").asString("");
        Integer inModel = vocabulary.get(content);
        if (inModel != null && inModel != id) {
            throw new FileFormatException(
                    origin + ": the added token " + content + " has the id " + id + ", the vocabulary has " + inModel);
        }
        if (!content.isEmpty()) {
            added.put(
                    content,
                    new AddedToken(
                            id,
                            content,
                            node.path("single_word").asBoolean(false),
                            node.path("lstrip").asBoolean(false),
                            node.path("rstrip").asBoolean(false),
                            node.path("normalized").asBoolean(true),
                            node.path("special").asBoolean(false)));
        }
    }

    private UnaryOperator<String> readNormalizer(@Nullable JsonNode node) {
        if (node == null || node.isNull()) {
            return UnaryOperator.identity();
        }
        String type = node.path("type").asString("");
        return switch (type) {
            case "NFC", "NFD", "NFKC", "NFKD" -> {
                Normalizer.Form form = Normalizer.Form.valueOf(type);
                yield text -> Normalizer.normalize(text, form);
            }
            case "Sequence" -> {
                List<UnaryOperator<String>> steps = new ArrayList<>();
                for (JsonNode step : node.path("normalizers")) {
                    steps.add(readNormalizer(step));
                }
                yield text -> {
                    String result = text;
                    for (UnaryOperator<String> step : steps) {
                        result = step.apply(result);
                    }
                    return result;
                };
            }
            default -> throw unsupported("the normalizer " + type, "NFC, NFD, NFKC, NFKD, Sequence or none");
        };
    }

    private void readPreTokenizer(@Nullable JsonNode node, List<PreTokenizer> stages) {
        if (node == null || node.isNull()) {
            return;
        }
        String type = node.path("type").asString("");
        switch (type) {
            case "ByteLevel" ->
                    stages.add(
                            new PreTokenizer.ByteLevel(
                                    node.path("add_prefix_space").asBoolean(true),
                                    node.path("use_regex").asBoolean(true),
                                    true));
            case "Digits" -> stages.add(PreTokenizer.digits(node.path("individual_digits").asBoolean(false)));
            case "Split" ->
                    stages.add(
                            new PreTokenizer.Split(
                                    pattern(node.path("pattern")),
                                    behavior(node.path("behavior").asString("")),
                                    node.path("invert").asBoolean(false)));
            case "Sequence" -> {
                for (JsonNode stage : node.path("pretokenizers")) {
                    readPreTokenizer(stage, stages);
                }
            }
            default -> throw unsupported("the pre_tokenizer " + type, "ByteLevel, Split, Digits or Sequence");
        }
    }

    private Pattern pattern(JsonNode node) {
        JsonNode text = node.path("String");
        try {
            return text.isString()
                    ? Pattern.compile(text.asString(), Pattern.LITERAL)
                    : OnigurumaPattern.compile(node.path("Regex").asString(""));
        } catch (IllegalArgumentException e) {
            throw new FileFormatException(origin + ": pre_tokenizer Split: " + e.getMessage(), e);
        }
    }

    private PreTokenizer.Behavior behavior(String name) {
        return switch (name.toLowerCase(Locale.ROOT)) {
            case "removed" -> PreTokenizer.Behavior.REMOVED;
            case "isolated" -> PreTokenizer.Behavior.ISOLATED;
            case "mergedwithprevious" -> PreTokenizer.Behavior.MERGED_WITH_PREVIOUS;
            case "mergedwithnext" -> PreTokenizer.Behavior.MERGED_WITH_NEXT;
            case "contiguous" -> PreTokenizer.Behavior.CONTIGUOUS;
            default ->
                    throw unsupported(
                            "the Split behavior " + name,
                            "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
        };
    }

    /// Leaves the mapping of the last stage to the model; true if words still leave the pre-tokenizer mapped.
    private boolean deferMapping(List<PreTokenizer> stages) {
        for (int i = 0; i < stages.size(); i++) {
            if (stages.get(i) instanceof PreTokenizer.ByteLevel level) {
                boolean last = i == stages.size() - 1;
                if (last) {
                    stages.set(i, new PreTokenizer.ByteLevel(level.addPrefixSpace(), level.useRegex(), false));
                }
                return !last;
            }
        }
        throw unsupported("a pre_tokenizer without ByteLevel", "a byte-level tokenizer");
    }

    private void readTemplate(SpecialTokens special, List<Integer> before, List<Integer> after) {
        // The two switches of tokenizer_config.json replace the file's template, as transformers does it.
        if (config != null && (config.has("add_bos_token") || config.has("add_eos_token"))) {
            if (config.path("add_bos_token").asBoolean(false) && special.bos() != null) {
                before.add(idOf(special.bos()));
            }
            if (config.path("add_eos_token").asBoolean(false) && special.eos() != null) {
                after.add(idOf(special.eos()));
            }
            return;
        }
        readPostProcessor(root.get("post_processor"), before, after);
    }

    private void readPostProcessor(@Nullable JsonNode node, List<Integer> before, List<Integer> after) {
        if (node == null || node.isNull()) {
            return;
        }
        String type = node.path("type").asString("");
        switch (type) {
            case "ByteLevel" -> {
                // Trims offsets, which nobody asks for here.
            }
            case "Sequence" -> {
                for (JsonNode processor : node.path("processors")) {
                    readPostProcessor(processor, before, after);
                }
            }
            case "TemplateProcessing" -> {
                List<Integer> front = new ArrayList<>();
                List<Integer> back = new ArrayList<>();
                int texts = 0;
                for (JsonNode piece : node.path("single")) {
                    if (piece.has("Sequence")) {
                        texts++;
                    } else {
                        String name = piece.path("SpecialToken").path("id").asString("");
                        for (JsonNode id : node.path("special_tokens").path(name).path("ids")) {
                            (texts == 0 ? front : back).add(id(id, "post_processor " + name));
                        }
                    }
                }
                if (texts != 1) {
                    throw unsupported("a template with " + texts + " texts", "exactly one");
                }
                before.addAll(0, front);
                after.addAll(back);
            }
            default -> throw unsupported("the post_processor " + type, "ByteLevel, TemplateProcessing or Sequence");
        }
    }

    private void checkDecoder(@Nullable JsonNode node) {
        if (node == null || node.isNull()) {
            throw unsupported("a tokenizer without decoder", "ByteLevel");
        }
        String type = node.path("type").asString("");
        if (type.equals("Sequence") && node.path("decoders").size() == 1) {
            checkDecoder(node.path("decoders").get(0));
        } else if (!type.equals("ByteLevel")) {
            throw unsupported("the decoder " + type, "ByteLevel");
        }
    }

    /// A token's text in tokenizer_config.json: a string, or an object with the content.
    private @Nullable String named(String key) {
        JsonNode node = config == null ? null : config.get(key);
        if (node != null && node.isObject()) {
            node = node.get("content");
        }
        return node != null && node.isString() ? node.asString() : null;
    }

    private int idOf(String token) {
        AddedToken addedToken = added.get(token);
        Integer id = addedToken == null ? vocabulary.get(token) : Integer.valueOf(addedToken.id());
        if (id == null) {
            throw new FileFormatException(origin + ": the special token " + token + " is not in the vocabulary");
        }
        return id;
    }

    private int id(JsonNode node, String what) {
        // No vocabulary comes near this; a larger id would only make us allocate.
        int limit = 1 << 24;
        if (!node.isIntegralNumber() || !node.canConvertToInt() || node.asInt() < 0 || node.asInt() >= limit) {
            throw new FileFormatException(origin + ": " + what + ": expected an id from 0 to 2^24-1, found " + node);
        }
        return node.asInt();
    }

    private ObjectNode object(@Nullable JsonNode node, String what) {
        if (node instanceof ObjectNode object) {
            return object;
        }
        throw new FileFormatException(
                origin + ": expected an object " + what + ", found " + (node == null ? "none" : StrictJson.kind(node)));
    }

    private VectuneException unsupported(String found, String expected) {
        return new VectuneException(origin + ": " + found + " is not supported; expected " + expected);
    }
}
