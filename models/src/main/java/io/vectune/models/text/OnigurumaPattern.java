package io.vectune.models.text;

import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/// Compiles patterns of tokenizer files, which are written for Oniguruma, so that Java matches the same.
///
/// - `\s \d \w` and case-insensitivity go by Unicode, as there; a dot stops at a newline only; `^` and `$` are at every
///   line.
/// - `\p{Han}` and other scripts and properties are `\p{IsHan}` in Java; general categories are the same.
/// - What means something else in Java is refused: `\h` (hex digit there, blank here) and `{n,m}+` (possessive here).
final class OnigurumaPattern {
    private static final Pattern PROPERTY = Pattern.compile("\\\\([pP])\\{(\\^?)([A-Za-z_]+)\\}");
    private static final Pattern REPEATED_INTERVAL = Pattern.compile("\\{\\d*,?\\d*\\}\\+");
    private static final Pattern HEX_DIGIT = Pattern.compile("(?<!\\\\)(?:\\\\\\\\)*\\\\[hH]");
    private static final Set<String> CATEGORIES =
            Set.of(
                    "L", "Lu", "Ll", "Lt", "LC", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
                    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc",
                    "Cf", "Cs", "Co", "Cn");

    private OnigurumaPattern() {}

    /// @throws IllegalArgumentException if the pattern cannot be given the same meaning
    static Pattern compile(String pattern) {
        if (REPEATED_INTERVAL.matcher(pattern).find() || HEX_DIGIT.matcher(pattern).find()) {
            throw new IllegalArgumentException(
                    "the pattern " + pattern + " uses \\h or {n,m}+, which are not supported");
        }
        String translated =
                PROPERTY.matcher(pattern)
                        .replaceAll(match -> {
                            boolean negated = match.group(1).equals("P") != match.group(2).equals("^");
                            String name = match.group(3);
                            String property = CATEGORIES.contains(name) ? name : "Is" + name;
                            return Matcher.quoteReplacement((negated ? "\\P{" : "\\p{") + property + "}");
                        });
        try {
            return Pattern.compile(
                    translated, Pattern.UNICODE_CHARACTER_CLASS | Pattern.UNIX_LINES | Pattern.MULTILINE);
        } catch (PatternSyntaxException e) {
            throw new IllegalArgumentException(
                    "the pattern " + pattern + " is not understood: " + e.getDescription(), e);
        }
    }
}
