package io.vectune.models.chat;

import io.vectune.runtime.VectuneException;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/// Functions that transformers gives to chat templates. Public because the template engine calls them by reflection.
public final class TemplateFunctions {
    private TemplateFunctions() {}

    /// Ends the rendering with the template's own message.
    public static Object raiseException(Object message) {
        throw new VectuneException(String.valueOf(message));
    }

    /// The local date and time by a format of Python's strftime.
    public static String strftimeNow(Object format) {
        LocalDateTime now = LocalDateTime.now(ZoneId.systemDefault());
        String text = String.valueOf(format);
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            char character = text.charAt(i);
            if (character != '%' || i + 1 == text.length()) {
                out.append(character);
                continue;
            }
            char code = text.charAt(++i);
            String pattern =
                    switch (code) {
                        case 'd' -> "dd";
                        case 'm' -> "MM";
                        case 'b' -> "MMM";
                        case 'B' -> "MMMM";
                        case 'y' -> "yy";
                        case 'Y' -> "uuuu";
                        case 'H' -> "HH";
                        case 'I' -> "hh";
                        case 'M' -> "mm";
                        case 'S' -> "ss";
                        case 'p' -> "a";
                        case 'a' -> "EEE";
                        case 'A' -> "EEEE";
                        case 'j' -> "DDD";
                        case '%' -> "'%'";
                        default -> throw new VectuneException("strftime_now: the code %" + code + " is not supported");
                    };
            out.append(now.format(DateTimeFormatter.ofPattern(pattern, Locale.ENGLISH)));
        }
        return out.toString();
    }
}
