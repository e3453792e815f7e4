package io.vectune.adapters.target;

import io.vectune.runtime.VectuneException;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/// Patterns over module paths with the meaning that PEFT gives them.
public final class ModulePatterns {
    private ModulePatterns() {}

    /// The value of the first key that matches the module's path or a tail of it that starts at a dot:
    /// `re.match("(.*\.)?(KEY)$", module)`.
    public static double value(Map<String, Double> patterns, String module, double otherwise) {
        for (Map.Entry<String, Double> entry : patterns.entrySet()) {
            if (matches(entry.getKey(), module)) {
                return entry.getValue();
            }
        }
        return otherwise;
    }

    /// Whether a key of such patterns matches a module.
    public static boolean matches(String key, String module) {
        return compile("(?:.*\\.)?(?:" + key + ")", key).matcher(module).matches();
    }

    /// A Python regular expression as a Java pattern: named groups are spelled differently, the rest that module
    /// patterns use is the same.
    public static Pattern python(String expression) {
        return compile(expression, expression);
    }

    private static Pattern compile(String expression, String shown) {
        try {
            return Pattern.compile(expression.replace("(?P<", "(?<").replace("(?P=", "\\k<"));
        } catch (PatternSyntaxException e) {
            throw new VectuneException(
                    "module pattern " + shown + ": expected a regular expression; " + e.getDescription(), e);
        }
    }
}
