package io.vectune.models.chat;

import com.hubspot.jinjava.el.ext.JinjavaBeanELResolver;
import com.hubspot.jinjava.lib.exptest.ExpTest;
import com.hubspot.jinjava.lib.filter.Filter;
import com.hubspot.jinjava.util.ForLoop;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELException;
import jinjava.javax.el.ELResolver;
import org.jspecify.annotations.Nullable;

/// Attributes, items and methods that a template may use: those of Python's str, dict and list, and of the loop.
///
/// It answers for every object, so that no other resolver is asked: a template has no way to a Java method.
final class PythonValues extends ELResolver {
    /// How the engine calls its own filters and tests.
    private final ELResolver engineCalls = new JinjavaBeanELResolver(true);

    private static final int UNLIMITED = Integer.MAX_VALUE;

    @Override
    public @Nullable Object getValue(ELContext context, @Nullable Object base, @Nullable Object property) {
        if (base == null) {
            return null;
        }
        context.setPropertyResolved(true);
        if (base instanceof Map<?, ?> map) {
            return map.get(property instanceof String || property == null ? property : property.toString());
        }
        if (base instanceof List<?> list) {
            int index = index(property, list.size());
            return index < 0 ? null : list.get(index);
        }
        if (base instanceof CharSequence text) {
            int[] points = text.codePoints().toArray();
            int index = index(property, points.length);
            return index < 0 ? null : Character.toString(points[index]);
        }
        if (base instanceof ForLoop loop) {
            return loopValue(loop, String.valueOf(property));
        }
        return null;
    }

    /// The place that a subscript names, counted from the end if it is negative; -1 if there is none. The engine hands
    /// numbers over as text.
    private static int index(@Nullable Object property, int size) {
        String digits = String.valueOf(property);
        if (!digits.matches("-?\\d{1,9}")) {
            return -1;
        }
        int index = Integer.parseInt(digits);
        int place = index < 0 ? index + size : index;
        return place < size ? Math.max(place, -1) : -1;
    }

    private static Object loopValue(ForLoop loop, String name) {
        return switch (name) {
            case "index" -> loop.getIndex();
            case "index0" -> loop.getIndex0();
            case "revindex" -> loop.getRevindex();
            case "revindex0" -> loop.getRevindex0();
            case "first" -> loop.isFirst();
            case "last" -> loop.isLast();
            case "length" -> loop.getLength();
            case "depth" -> loop.getDepth();
            case "depth0" -> loop.getDepth0();
            default -> throw new ELException("loop." + name + " is not supported");
        };
    }

    @Override
    public @Nullable Object invoke(
            ELContext context,
            @Nullable Object base,
            @Nullable Object method,
            Class<?> @Nullable [] types,
            Object @Nullable [] given) {
        if (base == null || method == null) {
            return null;
        }
        context.setPropertyResolved(true);
        Object[] arguments = given == null ? new Object[0] : given;
        String name = method.toString();
        if (base instanceof CharSequence text) {
            return ofText(text.toString(), name, arguments);
        }
        if (base instanceof Map<?, ?> map) {
            return ofMap(map, name, arguments);
        }
        if (base instanceof List<?> list) {
            return switch (name) {
                case "index" -> (long) list.indexOf(arguments[0]);
                case "count" -> list.stream().filter(arguments[0]::equals).count();
                default -> throw unknown("list", name);
            };
        }
        if ((base instanceof Filter && name.equals("filter"))
                || (base instanceof ExpTest && (name.equals("evaluate") || name.equals("evaluateNegated")))) {
            return engineCalls.invoke(context, base, method, types, given);
        }
        throw unknown(base instanceof ForLoop ? "loop" : "object", name);
    }

    private static @Nullable Object ofMap(Map<?, ?> map, String name, Object[] arguments) {
        return switch (name) {
            case "get" -> {
                Object key = arguments[0].toString();
                yield map.containsKey(key) ? map.get(key) : arguments.length > 1 ? arguments[1] : null;
            }
            case "keys" -> new ArrayList<>(map.keySet());
            case "values" -> new ArrayList<>(map.values());
            case "items" -> {
                List<Object> items = new ArrayList<>();
                map.forEach((key, value) -> items.add(new ArrayList<>(Arrays.asList(key, value))));
                yield items;
            }
            default -> throw unknown("dict", name);
        };
    }

    private static Object ofText(String text, String name, Object[] arguments) {
        return switch (name) {
            case "strip" -> strip(text, arguments, true, true);
            case "lstrip" -> strip(text, arguments, true, false);
            case "rstrip" -> strip(text, arguments, false, true);
            case "split" -> split(text, arguments);
            case "rsplit" -> splitFromTheRight(text, arguments);
            case "splitlines" -> text.isEmpty() ? List.of() : text.lines().toList();
            case "startswith" -> anyOf(arguments[0]).stream().anyMatch(text::startsWith);
            case "endswith" -> anyOf(arguments[0]).stream().anyMatch(text::endsWith);
            case "upper" -> text.toUpperCase(Locale.ROOT);
            case "lower" -> text.toLowerCase(Locale.ROOT);
            case "capitalize" ->
                    text.isEmpty()
                            ? text
                            : text.substring(0, 1).toUpperCase(Locale.ROOT)
                                    + text.substring(1).toLowerCase(Locale.ROOT);
            case "replace" -> text.replace(arguments[0].toString(), arguments[1].toString());
            case "find" -> (long) text.indexOf(arguments[0].toString());
            case "rfind" -> (long) text.lastIndexOf(arguments[0].toString());
            case "count" -> (long) text.split(java.util.regex.Pattern.quote(arguments[0].toString()), -1).length - 1;
            case "removeprefix" ->
                    text.startsWith(arguments[0].toString()) ? text.substring(arguments[0].toString().length()) : text;
            case "removesuffix" ->
                    text.endsWith(arguments[0].toString())
                            ? text.substring(0, text.length() - arguments[0].toString().length())
                            : text;
            case "isdigit" -> !text.isEmpty() && text.chars().allMatch(Character::isDigit);
            case "isspace" -> !text.isEmpty() && text.chars().allMatch(PythonValues::isSpace);
            default -> throw unknown("str", name);
        };
    }

    private static List<String> anyOf(Object argument) {
        return argument instanceof Collection<?> several
                ? several.stream().map(String::valueOf).toList()
                : List.of(argument.toString());
    }

    /// Python's white space.
    static boolean isSpace(int character) {
        return Character.isSpaceChar(character)
                || (character >= 0x9 && character <= 0xd)
                || (character >= 0x1c && character <= 0x1f)
                || character == 0x85;
    }

    private static String strip(String text, Object[] arguments, boolean left, boolean right) {
        String set = arguments.length > 0 && arguments[0] != null ? arguments[0].toString() : null;
        int from = 0;
        int to = text.length();
        while (left && from < to && isIn(text.charAt(from), set)) {
            from++;
        }
        while (right && to > from && isIn(text.charAt(to - 1), set)) {
            to--;
        }
        return text.substring(from, to);
    }

    private static boolean isIn(char character, @Nullable String set) {
        return set == null ? isSpace(character) : set.indexOf(character) >= 0;
    }

    private static List<String> split(String text, Object[] arguments) {
        int limit = arguments.length > 1 ? ((Number) arguments[1]).intValue() : UNLIMITED;
        if (arguments.length == 0 || arguments[0] == null) {
            String stripped = strip(text, new Object[0], true, true);
            return stripped.isEmpty()
                    ? List.of()
                    : List.of(stripped.split("(?U)\\s+", limit == UNLIMITED ? 0 : limit + 1));
        }
        String separator = arguments[0].toString();
        List<String> parts = new ArrayList<>();
        int from = 0;
        for (int at = text.indexOf(separator); at >= 0 && parts.size() < limit; at = text.indexOf(separator, from)) {
            parts.add(text.substring(from, at));
            from = at + separator.length();
        }
        parts.add(text.substring(from));
        return parts;
    }

    private static List<String> splitFromTheRight(String text, Object[] arguments) {
        if (arguments.length < 2) {
            return split(text, arguments);
        }
        String separator = arguments[0].toString();
        int limit = ((Number) arguments[1]).intValue();
        List<String> parts = new ArrayList<>();
        int to = text.length();
        for (int at = text.lastIndexOf(separator);
                at >= 0 && parts.size() < limit;
                at = text.lastIndexOf(separator, at - 1)) {
            parts.addFirst(text.substring(at + separator.length(), to));
            to = at;
        }
        parts.addFirst(text.substring(0, to));
        return parts;
    }

    private static ELException unknown(String type, String name) {
        return new ELException("'" + type + " object' has no method '" + name + "' here");
    }

    @Override
    public @Nullable Class<?> getType(ELContext context, @Nullable Object base, @Nullable Object property) {
        return null;
    }

    @Override
    public void setValue(ELContext context, @Nullable Object base, @Nullable Object property, @Nullable Object value) {
        throw new ELException("a template cannot change its data");
    }

    @Override
    public boolean isReadOnly(ELContext context, @Nullable Object base, @Nullable Object property) {
        return true;
    }

    @Override
    public @Nullable Class<?> getCommonPropertyType(ELContext context, @Nullable Object base) {
        return null;
    }

    @Override
    public java.util.@Nullable Iterator<java.beans.FeatureDescriptor> getFeatureDescriptors(
            ELContext context, @Nullable Object base) {
        return null;
    }
}
