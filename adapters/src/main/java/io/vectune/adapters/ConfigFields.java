package io.vectune.adapters;

import io.vectune.runtime.VectuneException;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/// The fields of an adapter configuration, read once each: what nobody has read is refused by name at the end, so that
/// nothing that changes the function is ignored.
public final class ConfigFields {
    private final String origin;
    private final Map<String, Object> values;
    private final Set<String> read = new LinkedHashSet<>();

    /// @param origin what messages call the source: a file, an option
    /// @param values field to value: Boolean, Number, String, List, Map; fields that are null are left out
    public ConfigFields(String origin, Map<String, ?> values) {
        this.origin = origin;
        this.values = new TreeMap<>(values);
    }

    /// What messages call the source.
    public String origin() {
        return origin;
    }

    /// Whether a field has a value that is neither null nor false nor empty.
    public boolean isSet(String field) {
        Object value = values.get(field);
        return !isNeutral(value);
    }

    /// The raw value, or null.
    public @Nullable Object raw(String field) {
        read.add(field);
        return values.get(field);
    }

    /// Marks fields as known and without effect on the function.
    public void ignore(String... fields) {
        read.addAll(List.of(fields));
    }

    /// A whole number.
    public int integer(String field, int otherwise) {
        Object value = raw(field);
        if (value == null) {
            return otherwise;
        }
        if (value instanceof Number number && number.doubleValue() == number.intValue()) {
            return number.intValue();
        }
        throw wrong(field, "a whole number", value);
    }

    /// A whole number of at least 1.
    public int positive(String field, int otherwise) {
        int value = integer(field, otherwise);
        if (value < 1) {
            throw wrong(field, "at least 1", value);
        }
        return value;
    }

    /// A number that f32 can hold, as all factors of adapters are multiplied in f32.
    public double number(String field, double otherwise) {
        Object value = raw(field);
        if (value == null) {
            return otherwise;
        }
        if (value instanceof Number number && Float.isFinite(number.floatValue())) {
            return number.doubleValue();
        }
        throw wrong(field, "a finite number in the range of f32", value);
    }

    /// A probability in [0, 1).
    public double probability(String field) {
        double value = number(field, 0);
        if (!(value >= 0 && value < 1)) {
            throw wrong(field, "a number from 0 to below 1", value);
        }
        return value;
    }

    /// True or false.
    public boolean flag(String field, boolean otherwise) {
        Object value = raw(field);
        if (value == null) {
            return otherwise;
        }
        if (value instanceof Boolean flag) {
            return flag;
        }
        throw wrong(field, "true or false", value);
    }

    /// Text.
    public String text(String field, String otherwise) {
        Object value = raw(field);
        if (value == null) {
            return otherwise;
        }
        if (value instanceof String text) {
            return text;
        }
        throw wrong(field, "text", value);
    }

    /// A map from patterns to numbers, in the order of the file.
    public Map<String, Double> pattern(String field) {
        Object value = raw(field);
        Map<String, Double> result = new LinkedHashMap<>();
        if (value == null) {
            return result;
        }
        if (!(value instanceof Map<?, ?> map)) {
            throw wrong(field, "an object from module patterns to numbers", value);
        }
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            if (!(entry.getValue() instanceof Number number)
                    || !(number.doubleValue() > 0 && Float.isFinite(number.floatValue()))) {
                throw wrong(
                        field + "[" + entry.getKey() + "]", "a positive number in the range of f32", entry.getValue());
            }
            result.put(String.valueOf(entry.getKey()), number.doubleValue());
        }
        return result;
    }

    /// A list of names; a single text counts as a list of one.
    public List<String> names(String field) {
        Object value = raw(field);
        return switch (value) {
            case null -> List.of();
            case String single -> List.of(single);
            case List<?> list when list.stream().allMatch(String.class::isInstance) ->
                    list.stream().map(String::valueOf).toList();
            default -> throw wrong(field, "a list of names", value);
        };
    }

    /// An exception for a field with a value that cannot be used.
    public VectuneException wrong(String field, String expected, @Nullable Object found) {
        return new VectuneException(origin + ": " + field + ": expected " + expected + ", found " + found);
    }

    /// Refuses fields that nobody has read and that have an effect.
    ///
    /// @throws VectuneException naming the first of them
    public void refuseUnread(String kind) {
        for (Map.Entry<String, Object> entry : values.entrySet()) {
            if (!read.contains(entry.getKey()) && !isNeutral(entry.getValue())) {
                throw new VectuneException(
                        origin
                                + ": "
                                + entry.getKey()
                                + " = "
                                + entry.getValue()
                                + " is not supported for adapters of the kind "
                                + kind
                                + "; remove it if it does not change what the adapter computes");
            }
        }
    }

    private static boolean isNeutral(@Nullable Object value) {
        return switch (value) {
            case null -> true;
            case Boolean flag -> !flag;
            case String text -> text.isEmpty();
            case List<?> list -> list.isEmpty();
            case Map<?, ?> map -> map.isEmpty();
            default -> false;
        };
    }
}
