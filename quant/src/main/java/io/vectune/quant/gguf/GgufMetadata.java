package io.vectune.quant.gguf;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.AbstractList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.RandomAccess;
import java.util.Set;

/// The metadata of a GGUF file, by key, typed.
///
/// Values stay in the mapped file and are decoded when asked for; the arrays of a tokenizer (tokens, merges) come as
/// lists that decode one element at a time. Every getter names the file and the key in its error: a missing key, a
/// value of another type, a number that does not fit.
public final class GgufMetadata {
    /// Where a value lies.
    ///
    /// @param type its type; ARRAY for arrays
    /// @param elementType type of the elements of an array; the type itself otherwise
    /// @param count number of elements of an array; 1 otherwise
    /// @param offset byte offset of the value, of the first element of an array
    record Entry(GgufValueType type, GgufValueType elementType, int count, long offset) {}

    private final String origin;
    private final MemorySegment segment;
    private final Map<String, Entry> entries;

    GgufMetadata(String origin, MemorySegment segment, Map<String, Entry> entries) {
        this.origin = origin;
        this.segment = segment;
        this.entries = Collections.unmodifiableMap(entries);
    }

    /// All keys, in the order of the file.
    public Set<String> keys() {
        return entries.keySet();
    }

    /// Whether there is a value of that key.
    public boolean has(String key) {
        return entries.containsKey(key);
    }

    /// The type of a value.
    public GgufValueType type(String key) {
        return entry(key).type;
    }

    /// Number of elements of an array; 1 for any other value.
    public int count(String key) {
        return entry(key).count;
    }

    /// A string.
    public String string(String key) {
        Entry entry = scalar(key, "a string");
        if (entry.type != GgufValueType.STRING) {
            throw mismatch(key, "a string", entry);
        }
        return stringAt(segment, entry.offset);
    }

    /// A string, or `fallback` where the key is missing.
    public String string(String key, String fallback) {
        return has(key) ? string(key) : fallback;
    }

    /// A whole number of any integer type.
    public long longInteger(String key) {
        Entry entry = scalar(key, "an integer");
        if (!entry.type.isInteger()) {
            throw mismatch(key, "an integer", entry);
        }
        return integerAt(key, entry.type, entry.offset);
    }

    /// A whole number that fits an `int`.
    public int integer(String key) {
        return narrow(key, longInteger(key));
    }

    /// A whole number that fits an `int`, or `fallback` where the key is missing.
    public int integer(String key, int fallback) {
        return has(key) ? integer(key) : fallback;
    }

    /// A number of any type, as f64.
    public double real(String key) {
        Entry entry = scalar(key, "a number");
        if (!entry.type.isNumber()) {
            throw mismatch(key, "a number", entry);
        }
        return realAt(key, entry.type, entry.offset);
    }

    /// A number of any type, or `fallback` where the key is missing.
    public double real(String key, double fallback) {
        return has(key) ? real(key) : fallback;
    }

    /// A truth value.
    public boolean flag(String key) {
        Entry entry = scalar(key, "a truth value");
        if (entry.type != GgufValueType.BOOL) {
            throw mismatch(key, "a truth value", entry);
        }
        return segment.get(Tensor.BYTE, entry.offset) != 0;
    }

    /// A truth value, or `fallback` where the key is missing.
    public boolean flag(String key, boolean fallback) {
        return has(key) ? flag(key) : fallback;
    }

    /// An array of strings, decoded one at a time when asked for.
    public List<String> strings(String key) {
        Entry entry = array(key, "an array of strings");
        if (entry.elementType != GgufValueType.STRING) {
            throw mismatch(key, "an array of strings", entry);
        }
        long[] offsets = new long[entry.count];
        long at = entry.offset;
        for (int i = 0; i < offsets.length; i++) {
            offsets[i] = at;
            at += 8 + segment.get(Tensor.LONG, at);
        }
        return new Strings(segment, offsets);
    }

    /// An array of whole numbers, each of which fits an `int`.
    public int[] integers(String key) {
        Entry entry = array(key, "an array of integers");
        if (!entry.elementType.isInteger()) {
            throw mismatch(key, "an array of integers", entry);
        }
        int[] values = new int[entry.count];
        for (int i = 0; i < values.length; i++) {
            values[i] =
                    narrow(key, integerAt(key, entry.elementType, entry.offset + (long) i * entry.elementType.bytes()));
        }
        return values;
    }

    /// An array of numbers, as f32.
    public float[] reals(String key) {
        Entry entry = array(key, "an array of numbers");
        if (!entry.elementType.isNumber()) {
            throw mismatch(key, "an array of numbers", entry);
        }
        float[] values = new float[entry.count];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) realAt(key, entry.elementType, entry.offset + (long) i * entry.elementType.bytes());
        }
        return values;
    }

    /// A value in a few words, for people: `"llama"`, `32`, `STRING[49152]`.
    public String describe(String key) {
        Entry entry = entry(key);
        return switch (entry.type) {
            case STRING -> '"' + string(key) + '"';
            case BOOL -> Boolean.toString(flag(key));
            case FLOAT32 -> Float.toString((float) real(key));
            case FLOAT64 -> Double.toString(real(key));
            case ARRAY -> entry.elementType + "[" + entry.count + "]";
            case UINT8, INT8, UINT16, INT16, UINT32, INT32, UINT64, INT64 -> Long.toString(longInteger(key));
        };
    }

    private Entry entry(String key) {
        Entry entry = entries.get(key);
        if (entry == null) {
            throw new FileFormatException(origin + ": metadata has no key " + key);
        }
        return entry;
    }

    private Entry scalar(String key, String expected) {
        Entry entry = entry(key);
        if (entry.type == GgufValueType.ARRAY) {
            throw mismatch(key, expected, entry);
        }
        return entry;
    }

    private Entry array(String key, String expected) {
        Entry entry = entry(key);
        if (entry.type != GgufValueType.ARRAY) {
            throw mismatch(key, expected, entry);
        }
        return entry;
    }

    private FileFormatException mismatch(String key, String expected, Entry entry) {
        String found = entry.type == GgufValueType.ARRAY ? "an array of " + entry.elementType : entry.type.toString();
        return new FileFormatException(origin + ": metadata " + key + ": expected " + expected + ", found " + found);
    }

    private int narrow(String key, long value) {
        if (value != (int) value) {
            throw new FileFormatException(
                    origin + ": metadata " + key + ": expected a number below 2^31, found " + value);
        }
        return (int) value;
    }

    private long integerAt(String key, GgufValueType type, long offset) {
        return switch (type) {
            case UINT8 -> Byte.toUnsignedLong(segment.get(Tensor.BYTE, offset));
            case INT8 -> segment.get(Tensor.BYTE, offset);
            case UINT16 -> Short.toUnsignedLong(segment.get(Tensor.SHORT, offset));
            case INT16 -> segment.get(Tensor.SHORT, offset);
            case UINT32 -> Integer.toUnsignedLong(segment.get(Tensor.INT, offset));
            case INT32 -> segment.get(Tensor.INT, offset);
            case INT64 -> segment.get(Tensor.LONG, offset);
            case UINT64 -> {
                long value = segment.get(Tensor.LONG, offset);
                if (value < 0) {
                    throw new FileFormatException(
                            origin
                                    + ": metadata "
                                    + key
                                    + ": expected a number below 2^63, found "
                                    + Long.toUnsignedString(value));
                }
                yield value;
            }
            case FLOAT32, BOOL, STRING, ARRAY, FLOAT64 -> throw new IllegalArgumentException("no integer: " + type);
        };
    }

    private double realAt(String key, GgufValueType type, long offset) {
        return switch (type) {
            case FLOAT32 -> segment.get(Tensor.FLOAT, offset);
            case FLOAT64 -> segment.get(Tensor.DOUBLE, offset);
            default -> integerAt(key, type, offset);
        };
    }

    static String stringAt(MemorySegment segment, long offset) {
        int length = Math.toIntExact(segment.get(Tensor.LONG, offset));
        byte[] bytes = new byte[length];
        MemorySegment.copy(segment, Tensor.BYTE, offset + 8, bytes, 0, length);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static final class Strings extends AbstractList<String> implements RandomAccess {
        private final MemorySegment segment;
        private final long[] offsets;

        Strings(MemorySegment segment, long[] offsets) {
            this.segment = segment;
            this.offsets = offsets;
        }

        @Override
        public String get(int index) {
            return stringAt(segment, offsets[index]);
        }

        @Override
        public int size() {
            return offsets.length;
        }
    }
}
