package io.vectune.models.data;

import io.vectune.models.text.ChatFormat;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/// Turns lines into ids and labels.
///
/// The border between prompt and answer is found as TRL finds it: the prompt is tokenized alone, prompt and answer
/// together, and the loss begins behind as many tokens as the prompt alone has. Where the first tokens of the two
/// differ (the last token of the prompt merged with the answer), that is counted, as TRL warns of it.
final class RowEncoder {
    /// The label of a token without loss, as transformers has it.
    private static final int IGNORED = -100;

    private final TextTools tools;
    private final DataOptions options;
    private int truncatedRows;
    private int unlabelledRows;
    private int unevenBoundaries;

    RowEncoder(TextTools tools, DataOptions options) {
        this.tools = tools;
        this.options = options;
    }

    int truncatedRows() {
        return truncatedRows;
    }

    int unlabelledRows() {
        return unlabelledRows;
    }

    int unevenBoundaries() {
        return unevenBoundaries;
    }

    /// The ids of a whole document.
    int[] document(String text, String origin) {
        int[] ids = withEos(tools.tokenizer().encode(text, true));
        int outside = firstOutside(ids);
        if (outside >= 0) {
            throw new FileFormatException(origin + ": " + outsideVocabulary("token " + outside, ids[outside]));
        }
        return ids;
    }

    /// The row of a line. Where no token that is left of it has a label, it adds nothing to a loss but keeps its place.
    TokenRow encode(DataLine line) {
        int[] ids;
        int[] labels;
        switch (line.kind()) {
            case TEXT -> {
                ids = withEos(tools.tokenizer().encode(line.text("text"), true));
                labels = ids.clone();
            }
            case COMPLETION -> {
                String prompt = line.text("prompt");
                ids = withEos(tools.tokenizer().encode(prompt + line.text("completion"), true));
                labels = new int[ids.length];
                Arrays.fill(labels, IGNORED);
                int border = border(tools.tokenizer().encode(prompt, true), ids);
                System.arraycopy(ids, border, labels, border, ids.length - border);
            }
            case MESSAGES -> {
                List<Map<String, Object>> messages = line.messages();
                String whole = render(line, messages, false);
                // The template writes the special tokens itself.
                ids = tools.tokenizer().encode(whole, false);
                labels = new int[ids.length];
                Arrays.fill(labels, IGNORED);
                labelAnswers(line, messages, whole, ids, labels);
            }
            case INPUT_IDS -> {
                ids = line.integers("input_ids");
                labels = line.integers("labels");
                if (ids == null) {
                    throw line.problem("expected an array input_ids, found none");
                }
                if (labels == null) {
                    labels = ids.clone();
                } else {
                    checkLabels(line, ids, labels);
                }
            }
            default -> throw new AssertionError(line.kind());
        }
        return finish(line, ids, labels);
    }

    private TokenRow finish(DataLine line, int[] ids, int[] labels) {
        int outside = firstOutside(ids);
        if (outside >= 0) {
            throw line.problem(outsideVocabulary("input_ids[" + outside + "]", ids[outside]));
        }
        if (ids.length < 2) {
            throw line.problem("expected at least 2 tokens (one to see, one to predict), found " + ids.length);
        }
        int length = Math.min(ids.length, options.maxLength());
        int[] keptLabels = Arrays.copyOf(labels, length);
        unlabelledRows += isLabelled(keptLabels) ? 0 : 1;
        truncatedRows += length < ids.length ? 1 : 0;
        return new TokenRow(Arrays.copyOf(ids, length), keptLabels);
    }

    /// The first label is never asked for: nothing comes before its token.
    private static boolean isLabelled(int[] labels) {
        return Arrays.stream(labels).skip(1).anyMatch(label -> label != IGNORED);
    }

    private int[] withEos(int[] ids) {
        if (!options.appendEos()) {
            return ids;
        }
        int eos =
                tools.tokenizer()
                        .eosId()
                        .orElseThrow(() ->
                                new VectuneException("--append-eos: the model's tokenizer names no end-of-text token"));
        if (ids.length > 0 && ids[ids.length - 1] == eos) {
            return ids;
        }
        int[] longer = Arrays.copyOf(ids, ids.length + 1);
        longer[ids.length] = eos;
        return longer;
    }

    private int border(int[] prompt, int[] whole) {
        int common = Math.min(prompt.length, whole.length);
        if (common < prompt.length || !Arrays.equals(prompt, 0, common, whole, 0, common)) {
            unevenBoundaries++;
        }
        return common;
    }

    private String render(DataLine line, List<Map<String, Object>> messages, boolean addGenerationPrompt) {
        ChatFormat chat = tools.chat();
        if (chat == null) {
            throw line.problem("has messages, but the model has no chat template; use prompt and completion");
        }
        try {
            return chat.render(messages, addGenerationPrompt);
        } catch (VectuneException e) {
            FileFormatException named = line.problem(String.valueOf(e.getMessage()));
            named.initCause(e);
            throw named;
        }
    }

    /// Every turn of the assistant is an answer: from where the generation prompt ends to where its turn ends.
    private void labelAnswers(
            DataLine line, List<Map<String, Object>> messages, String whole, int[] ids, int[] labels) {
        boolean answered = false;
        for (int turn = 0; turn < messages.size(); turn++) {
            if (!"assistant".equals(messages.get(turn).get("role"))) {
                continue;
            }
            answered = true;
            String before = turn == 0 ? "" : render(line, messages.subList(0, turn), true);
            String until = turn == messages.size() - 1 ? whole : render(line, messages.subList(0, turn + 1), false);
            if (!whole.startsWith(before) || !whole.startsWith(until) || !until.startsWith(before)) {
                throw line.problem(
                        "the chat template writes messages[0.."
                                + turn
                                + "] differently when more follow; let each row end with the answer to learn");
            }
            int from = border(tools.tokenizer().encode(before, false), ids);
            int to = turn == messages.size() - 1 ? ids.length : border(tools.tokenizer().encode(until, false), ids);
            System.arraycopy(ids, from, labels, from, Math.max(0, to - from));
        }
        if (!answered) {
            throw line.problem("messages: expected a message of the role assistant, found none");
        }
    }

    private void checkLabels(DataLine line, int[] ids, int[] labels) {
        if (labels.length != ids.length) {
            throw line.problem("expected as many labels as input_ids, found " + labels.length + " and " + ids.length);
        }
        for (int i = 0; i < labels.length; i++) {
            if (labels[i] != IGNORED && (labels[i] < 0 || labels[i] >= options.vocabularySize())) {
                throw line.problem(outsideVocabulary("labels[" + i + "]", labels[i]) + " (or -100)");
            }
        }
    }

    private int firstOutside(int[] ids) {
        for (int i = 0; i < ids.length; i++) {
            if (ids[i] < 0 || ids[i] >= options.vocabularySize()) {
                return i;
            }
        }
        return -1;
    }

    private String outsideVocabulary(String what, int id) {
        return what + " is " + id + ", expected an id from 0 to " + (options.vocabularySize() - 1);
    }
}
