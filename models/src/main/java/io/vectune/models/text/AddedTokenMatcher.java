package io.vectune.models.text;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.IntConsumer;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Finds added tokens in a text: at the leftmost place where one begins, the longest that fits.
final class AddedTokenMatcher {
    private static final Pattern WORD = Pattern.compile("\\w", Pattern.UNICODE_CHARACTER_CLASS);

    private static final class Node {
        private final Map<Character, Node> next = new HashMap<>();
        private @Nullable AddedToken token;
    }

    private final Node root = new Node();

    AddedTokenMatcher(List<AddedToken> tokens, UnaryOperator<String> normalizer) {
        for (AddedToken token : tokens) {
            String content = normalizer.apply(token.content());
            Node node = root;
            for (int i = 0; i < content.length(); i++) {
                node = node.next.computeIfAbsent(content.charAt(i), key -> new Node());
            }
            if (node != root && node.token == null) {
                node.token = token;
            }
        }
    }

    /// Walks over a text, giving the added tokens and what lies between them.
    void split(String text, Consumer<String> between, IntConsumer tokens) {
        int done = 0;
        int at = root.next.isEmpty() ? text.length() : 0;
        while (at < text.length()) {
            Match match = longestAt(text, at);
            if (match == null) {
                at++;
                continue;
            }
            AddedToken token = match.token;
            int start = at;
            int end = match.end;
            at = end;
            if (token.singleWord() && (isWordBefore(text, start) || isWordAt(text, end))) {
                continue;
            }
            if (token.lstrip()) {
                while (start > done && isSpace(text.charAt(start - 1))) {
                    start--;
                }
            }
            if (token.rstrip()) {
                while (end < text.length() && isSpace(text.charAt(end))) {
                    end++;
                }
            }
            if (done < start) {
                between.accept(text.substring(done, start));
            }
            tokens.accept(token.id());
            done = end;
        }
        if (done < text.length()) {
            between.accept(text.substring(done));
        }
    }

    private record Match(AddedToken token, int end) {}

    private @Nullable Match longestAt(String text, int from) {
        Match longest = null;
        Node node = root;
        for (int at = from; at < text.length(); at++) {
            node = node.next.get(text.charAt(at));
            if (node == null) {
                break;
            }
            if (node.token != null) {
                longest = new Match(node.token, at + 1);
            }
        }
        return longest;
    }

    private static boolean isWordBefore(String text, int at) {
        return at > 0 && WORD.matcher(Character.toString(text.codePointBefore(at))).matches();
    }

    private static boolean isWordAt(String text, int at) {
        return at < text.length() && WORD.matcher(Character.toString(text.codePointAt(at))).matches();
    }

    /// White space as Unicode defines it; all of it lies in the basic plane.
    private static boolean isSpace(char character) {
        return Character.isSpaceChar(character) || (character >= 0x9 && character <= 0xd) || character == 0x85;
    }
}
