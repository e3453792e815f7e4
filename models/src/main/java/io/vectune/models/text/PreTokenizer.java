package io.vectune.models.text;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Splits text into the pieces that byte-pair merges do not cross.
sealed interface PreTokenizer {
    /// GPT-2's pattern.
    Pattern GPT2 =
            OnigurumaPattern.compile(
                    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");

    /// Gives the pieces of a text, none of them empty, in order.
    void split(String text, Consumer<String> pieces);

    /// What becomes of the parts of a text that match a pattern.
    enum Behavior {
        REMOVED,
        ISOLATED,
        MERGED_WITH_PREVIOUS,
        MERGED_WITH_NEXT,
        CONTIGUOUS
    }

    /// Turns text into the byte alphabet, after GPT-2's split unless that is off.
    ///
    /// @param addPrefixSpace whether a space goes in front of text that has none
    /// @param useRegex whether GPT-2's pattern splits first
    /// @param maps whether the pieces leave here in the byte alphabet; the last stage leaves that to the model, which
    ///   then only maps words it does not know yet
    record ByteLevel(boolean addPrefixSpace, boolean useRegex, boolean maps) implements PreTokenizer {
        @Override
        public void split(String text, Consumer<String> pieces) {
            String spaced = addPrefixSpace && !text.isEmpty() && text.charAt(0) != ' ' ? " " + text : text;
            Consumer<String> out = maps ? piece -> pieces.accept(ByteAlphabet.encode(piece)) : pieces;
            if (useRegex) {
                isolate(GPT2, spaced, out);
            } else if (!spaced.isEmpty()) {
                out.accept(spaced);
            }
        }
    }

    /// Splits at the matches of a pattern.
    ///
    /// @param inverted whether what does not match counts as the match
    record Split(Pattern pattern, Behavior behavior, boolean inverted) implements PreTokenizer {
        @Override
        public void split(String text, Consumer<String> pieces) {
            if (behavior == Behavior.ISOLATED) {
                isolate(pattern, text, pieces);
                return;
            }
            List<String> parts = new ArrayList<>();
            List<Boolean> matched = new ArrayList<>();
            Matcher matcher = pattern.matcher(text);
            int end = 0;
            while (matcher.find()) {
                if (matcher.start() > end) {
                    parts.add(text.substring(end, matcher.start()));
                    matched.add(inverted);
                }
                parts.add(matcher.group());
                matched.add(!inverted);
                end = matcher.end();
            }
            if (end < text.length()) {
                parts.add(text.substring(end));
                matched.add(inverted);
            }
            join(parts, matched, pieces);
        }

        private void join(List<String> parts, List<Boolean> matched, Consumer<String> pieces) {
            StringBuilder open = new StringBuilder();
            for (int i = 0; i < parts.size(); i++) {
                boolean match = matched.get(i);
                boolean afterMatch = i > 0 && matched.get(i - 1);
                boolean joins =
                        i > 0
                                && switch (behavior) {
                                    case REMOVED, ISOLATED -> false;
                                    case MERGED_WITH_PREVIOUS -> match && !afterMatch;
                                    case MERGED_WITH_NEXT -> afterMatch && !match;
                                    case CONTIGUOUS -> match == afterMatch;
                                };
                if (!joins) {
                    give(open, pieces);
                }
                if (!(behavior == Behavior.REMOVED && match)) {
                    open.append(parts.get(i));
                }
            }
            give(open, pieces);
        }

        private static void give(StringBuilder open, Consumer<String> pieces) {
            if (!open.isEmpty()) {
                pieces.accept(open.toString());
                open.setLength(0);
            }
        }
    }

    /// Splits by several, one after the other.
    record Sequence(List<PreTokenizer> stages) implements PreTokenizer {
        public Sequence {
            stages = List.copyOf(stages);
        }

        @Override
        public void split(String text, Consumer<String> pieces) {
            run(0, text, pieces);
        }

        private void run(int stage, String text, Consumer<String> pieces) {
            if (stage == stages.size()) {
                pieces.accept(text);
            } else {
                stages.get(stage).split(text, piece -> run(stage + 1, piece, pieces));
            }
        }
    }

    /// Digits apart from everything else: each alone, or runs of them.
    static PreTokenizer digits(boolean individually) {
        return new Split(
                OnigurumaPattern.compile("\\p{N}"), individually ? Behavior.ISOLATED : Behavior.CONTIGUOUS, false);
    }

    private static void isolate(Pattern pattern, String text, Consumer<String> pieces) {
        Matcher matcher = pattern.matcher(text);
        int end = 0;
        while (matcher.find()) {
            if (matcher.start() > end) {
                pieces.accept(text.substring(end, matcher.start()));
            }
            if (matcher.end() > matcher.start()) {
                pieces.accept(text.substring(matcher.start(), matcher.end()));
            }
            end = matcher.end();
        }
        if (end < text.length()) {
            pieces.accept(text.substring(end));
        }
    }
}
