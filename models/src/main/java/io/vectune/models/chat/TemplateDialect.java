package io.vectune.models.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Rewrites the expressions of a Jinja template whose meaning jinjava would change, and nothing else.
///
/// | Jinja | jinjava | rewritten to |
/// |---|---|---|
/// | `not a is b` means `not (a is b)` | `(not a) is b` | `a is not b`; likewise for `in`, `==`, `!=` |
/// | `a[::-1]` | no step in slices | `(a\|reverse\|list)` |
/// | `namespace(n=a - 1)` | `(n=a) - 1` | `namespace(n=(a - 1))` |
/// | `a\|items` | unknown | `a.items()` |
/// | `True`, `False`, `None` | unknown names | `true`, `false`, `none` |
/// | `"\u00e9"` | no such escape | the character |
/// | white space control, trim_blocks, lstrip_blocks | takes blanks after expressions too | done here |
/// | one newline at the end is dropped | kept | dropped |
final class TemplateDialect {
    private static final Pattern LITERAL =
            Pattern.compile("'(?:[^'\\\\]|\\\\.)*+'|\"(?:[^\"\\\\]|\\\\.)*+\"", Pattern.DOTALL);
    private static final Pattern UNICODE = Pattern.compile("\\\\u([0-9a-fA-F]{4})");
    private static final Pattern CONSTANT = Pattern.compile("(?<![\\w.])(True|False|None)(?!\\w)");
    private static final String PRIMARY = "([A-Za-z_]\\w*(?:\\.\\w+|\\[[^\\[\\]]*\\]|\\([^()]*\\))*)";
    private static final Pattern NAMESPACE = Pattern.compile("\\bnamespace\\([^()]*(?:\\([^()]*\\)[^()]*)*\\)");
    private static final Pattern NAMED =
            Pattern.compile("([(,]\\s*\\w+\\s*=)(?!=)\\s*((?:[^(),\\[\\]]|\\([^()]*\\)|\\[[^\\[\\]]*\\])+)");
    private static final Pattern ITEMS = Pattern.compile(PRIMARY + "\\s*\\|\\s*items\\b");
    private static final Pattern REVERSED = Pattern.compile(PRIMARY + "\\[::-1\\]");
    private static final Pattern NOT_IS = Pattern.compile("\\bnot\\s+" + PRIMARY + "\\s+is\\s+(?!not\\b)");
    private static final Pattern NOT_IN = Pattern.compile("\\bnot\\s+" + PRIMARY + "\\s+in\\s+");
    private static final Pattern NOT_EQUAL = Pattern.compile("\\bnot\\s+" + PRIMARY + "\\s*(==|!=)");

    private TemplateDialect() {}

    /// The template for the engine, white space already settled.
    static String translate(String template) {
        return new Scan(template.endsWith("\n") ? template.substring(0, template.length() - 1) : template).run();
    }

    /// One pass over a template. White space around blocks follows Jinja with trim_blocks and lstrip_blocks: a block
    /// takes the newline behind it and the blanks before it if nothing else stands there; `-` takes all white space on
    /// its side, `+` keeps it. Comments go.
    private static final class Scan {
        private final String source;
        private final StringBuilder out = new StringBuilder();
        private boolean atLineStart = true;
        private char before = '+';
        private boolean afterBlock;

        Scan(String source) {
            this.source = source;
        }

        String run() {
            int at = 0;
            while (true) {
                int open = nextOpen(at);
                String data = opened(source.substring(at, open < 0 ? source.length() : open));
                int close = open < 0 ? -1 : closeOf(open);
                if (close < 0) {
                    return out.append(data).append(open < 0 ? "" : source.substring(open)).toString();
                }
                out.append(closed(data, open));
                char kind = source.charAt(open + 1);
                int from = open + 2 + (isSign(source.charAt(open + 2)) ? 1 : 0);
                before = source.charAt(close - 1);
                int to = isSign(before) && close - 1 >= from ? close - 1 : close;
                if (kind != '#') {
                    out.append(source, open, open + 2)
                            .append(' ')
                            .append(expressions(source.substring(from, Math.max(from, to)).strip()));
                    out.append(' ').append(source, close, close + 2);
                }
                afterBlock = kind != '{';
                atLineStart = false;
                at = close + 2;
            }
        }

        /// Text behind a block, without what the block takes.
        private String opened(String data) {
            String rest = data;
            if (before == '-') {
                rest = data.stripLeading();
            } else if (before != '+' && afterBlock && data.startsWith("\n")) {
                rest = data.substring(1);
            }
            int taken = data.length() - rest.length();
            if (taken > 0) {
                atLineStart = data.charAt(taken - 1) == '\n';
            }
            return rest;
        }

        /// Text before a block, without what the block takes.
        private String closed(String data, int open) {
            char sign = source.charAt(open + 2);
            if (sign == '-') {
                return data.stripTrailing();
            }
            int line = data.lastIndexOf('\n') + 1;
            boolean strips = source.charAt(open + 1) != '{' && sign != '+' && (line > 0 || atLineStart);
            return strips && data.substring(line).isBlank() ? data.substring(0, line) : data;
        }

        private static boolean isSign(char character) {
            return character == '-' || character == '+';
        }

        private int nextOpen(int from) {
            for (int at = source.indexOf('{', from); at >= 0; at = source.indexOf('{', at + 1)) {
                if (at + 2 < source.length() && "{%#".indexOf(source.charAt(at + 1)) >= 0) {
                    return at;
                }
            }
            return -1;
        }

        /// Where the two closing characters are; quotes and inner braces are skipped.
        private int closeOf(int open) {
            char kind = source.charAt(open + 1);
            if (kind == '#') {
                return source.indexOf("#}", open + 2);
            }
            int depth = 0;
            for (int at = open + 2; at + 1 < source.length(); at++) {
                char character = source.charAt(at);
                if (character == '\'' || character == '"') {
                    at = endOfLiteral(at);
                } else if (depth == 0 && source.charAt(at + 1) == '}' && character == (kind == '{' ? '}' : '%')) {
                    return at;
                } else if (character == '{') {
                    depth++;
                } else if (character == '}') {
                    depth--;
                }
            }
            return -1;
        }

        private int endOfLiteral(int start) {
            int at = start + 1;
            while (at < source.length() && source.charAt(at) != source.charAt(start)) {
                at += source.charAt(at) == '\\' ? 2 : 1;
            }
            return at;
        }
    }

    /// Rewrites code with its string literals put aside.
    private static String expressions(String code) {
        List<String> literals = new ArrayList<>();
        String bare =
                LITERAL.matcher(code)
                        .replaceAll(match -> {
                            literals.add(unescape(match.group()));
                            return "\u0001" + (literals.size() - 1) + "\u0001";
                        });
        bare = CONSTANT.matcher(bare).replaceAll(match -> match.group().toLowerCase(Locale.ROOT));
        bare = NOT_IS.matcher(bare).replaceAll("$1 is not ");
        bare = NOT_IN.matcher(bare).replaceAll("$1 not in ");
        bare = NOT_EQUAL.matcher(bare).replaceAll(match -> "$1 " + (match.group(2).equals("==") ? "!=" : "=="));
        bare = NAMESPACE.matcher(bare).replaceAll(call -> Matcher.quoteReplacement(grouped(call.group())));
        bare = ITEMS.matcher(bare).replaceAll("$1.items()");
        bare = REVERSED.matcher(bare).replaceAll("($1|reverse|list)");
        for (int i = 0; i < literals.size(); i++) {
            bare = bare.replace("\u0001" + i + "\u0001", literals.get(i));
        }
        return bare;
    }

    /// Each value of a namespace in parentheses.
    private static String grouped(String call) {
        return NAMED.matcher(call).replaceAll("$1($2)");
    }

    private static String unescape(String literal) {
        return UNICODE.matcher(literal)
                .replaceAll(
                        match -> Matcher.quoteReplacement(Character.toString(Integer.parseInt(match.group(1), 16))));
    }
}
