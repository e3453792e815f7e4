package io.vectune.runtime.safetensors;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.NearMatches;
import io.vectune.runtime.file.StrictJson;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.json.JsonFactory;

/// The parsed and fully checked header of one file.
///
/// @param entries the tensors by name, in the order of their bytes
/// @param metadata the free text under `__metadata__`
record SafetensorsHeader(Map<String, Entry> entries, Map<String, String> metadata) {
    /// Headers beyond this are refused, as the reference library does.
    static final long MAX_BYTES = 100_000_000;

    /// Bytes of the length field in front of the header.
    static final int LENGTH_BYTES = 8;

    static final String METADATA = "__metadata__";

    private static final JsonFactory JSON =
            JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

    /// One tensor.
    ///
    /// @param begin first byte, counted from the end of the header
    /// @param end byte after the last
    record Entry(DType dtype, List<Long> sizes, long begin, long end) {
        static Entry of(DType dtype, long[] shape, long begin, long end) {
            return new Entry(dtype, Arrays.stream(shape).boxed().toList(), begin, end);
        }

        long[] shape() {
            return sizes.stream().mapToLong(Long::longValue).toArray();
        }

        long bytes() {
            return end - begin;
        }
    }

    /// Reads and checks a header.
    ///
    /// @param json the header's bytes
    /// @param headerBytes their number, which also places the tensors in the file
    /// @param fileBytes size of the whole file
    /// @param origin the file, for messages
    static SafetensorsHeader parse(InputStream json, long headerBytes, long fileBytes, String origin) {
        Map<String, Entry> entries = new LinkedHashMap<>();
        Map<String, String> metadata = new LinkedHashMap<>();
        Reader reader =
                new InputStreamReader(
                        json,
                        StandardCharsets.UTF_8
                                .newDecoder()
                                .onMalformedInput(CodingErrorAction.REPORT)
                                .onUnmappableCharacter(CodingErrorAction.REPORT));
        try (JsonParser parser = JSON.createParser(ObjectReadContext.empty(), reader)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw new FileFormatException(origin + ": expected a header that is a JSON object");
            }
            while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
                String name = parser.currentName();
                JsonToken value = parser.nextToken();
                if (name.equals(METADATA)) {
                    readMetadata(parser, value, metadata, origin);
                } else {
                    entries.put(name, readEntry(parser, value, name, origin));
                }
            }
            if (parser.nextToken() != null) {
                throw new FileFormatException(origin + ": the header goes on after its JSON object");
            }
        } catch (JacksonException e) {
            throw new FileFormatException(origin + ": the header is not valid JSON: " + StrictJson.describe(e), e);
        }
        return new SafetensorsHeader(inFileOrder(entries, LENGTH_BYTES + headerBytes, fileBytes, origin), metadata);
    }

    private static void readMetadata(
            JsonParser parser, @Nullable JsonToken value, Map<String, String> metadata, String origin) {
        if (value != JsonToken.START_OBJECT) {
            throw new FileFormatException(origin + ": __metadata__ must be a JSON object");
        }
        while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
            String key = parser.currentName();
            if (parser.nextToken() != JsonToken.VALUE_STRING) {
                throw new FileFormatException(
                        origin + ": __metadata__ key " + key + ": expected a string, found " + parser.getString());
            }
            metadata.put(key, parser.getString());
        }
    }

    private static Entry readEntry(JsonParser parser, @Nullable JsonToken value, String name, String origin) {
        if (value != JsonToken.START_OBJECT) {
            throw problem(origin, name, "expected a JSON object with dtype, shape and data_offsets");
        }
        DType dtype = null;
        long[] shape = null;
        long[] offsets = null;
        while (parser.nextToken() == JsonToken.PROPERTY_NAME) {
            String key = parser.currentName();
            JsonToken token = parser.nextToken();
            switch (key) {
                case "dtype" -> {
                    if (token != JsonToken.VALUE_STRING) {
                        throw problem(origin, name, "dtype must be a string");
                    }
                    dtype = readDtype(parser.getString(), name, origin);
                }
                case "shape" -> shape = readSizes(parser, token, "shape", name, origin);
                case "data_offsets" -> offsets = readSizes(parser, token, "data_offsets", name, origin);
                default -> throw problem(origin, name, "has the unknown key " + key);
            }
        }
        if (dtype == null || shape == null || offsets == null) {
            String key = dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets";
            throw problem(origin, name, "has no " + key);
        }
        return check(dtype, shape, offsets, name, origin);
    }

    private static DType readDtype(String text, String name, String origin) {
        for (DType dtype : DType.values()) {
            if (dtype.name().equals(text)) {
                return dtype;
            }
        }
        List<String> known = Arrays.stream(DType.values()).map(DType::name).toList();
        throw problem(origin, name, "has the dtype " + text + ", which is not known" + NearMatches.hint(text, known));
    }

    private static long[] readSizes(
            JsonParser parser, @Nullable JsonToken token, String key, String name, String origin) {
        if (token != JsonToken.START_ARRAY) {
            throw problem(origin, name, key + " must be an array of sizes");
        }
        long[] sizes = new long[4];
        int count = 0;
        for (JsonToken next = parser.nextToken(); next != JsonToken.END_ARRAY; next = parser.nextToken()) {
            boolean fits =
                    next == JsonToken.VALUE_NUMBER_INT
                            && parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER
                            && parser.getLongValue() >= 0;
            if (!fits) {
                throw problem(
                        origin,
                        name,
                        key + "[" + count + "]: expected a size from 0 to 2^63-1, found " + parser.getString());
            }
            if (count == sizes.length) {
                sizes = Arrays.copyOf(sizes, 2 * count);
            }
            sizes[count++] = parser.getLongValue();
        }
        return Arrays.copyOf(sizes, count);
    }

    private static Entry check(DType dtype, long[] shape, long[] offsets, String name, String origin) {
        if (offsets.length != 2) {
            throw problem(origin, name, "data_offsets: expected [begin, end], found " + Arrays.toString(offsets));
        }
        if (offsets[0] > offsets[1]) {
            throw problem(origin, name, "data_offsets " + Arrays.toString(offsets) + ": the end lies before the begin");
        }
        long expected;
        try {
            expected = Math.multiplyExact(Tensor.elements(shape), (long) dtype.bytes());
        } catch (ArithmeticException e) {
            throw problem(
                    origin, name, "shape " + Arrays.toString(shape) + " of " + dtype + " has more than 2^63-1 bytes");
        }
        if (offsets[1] - offsets[0] != expected) {
            throw problem(
                    origin,
                    name,
                    "shape "
                            + Arrays.toString(shape)
                            + " of "
                            + dtype
                            + " takes "
                            + expected
                            + " bytes, but data_offsets "
                            + Arrays.toString(offsets)
                            + " span "
                            + (offsets[1] - offsets[0]));
        }
        return Entry.of(dtype, shape, offsets[0], offsets[1]);
    }

    /// Sorts the tensors by their bytes and checks that they fill the file exactly: no overlap, no hole, no rest.
    private static Map<String, Entry> inFileOrder(
            Map<String, Entry> entries, long dataStart, long fileBytes, String origin) {
        List<Map.Entry<String, Entry>> sorted = new ArrayList<>(entries.entrySet());
        sorted.sort(
                Comparator.comparingLong((Map.Entry<String, Entry> entry) -> entry.getValue().begin())
                        .thenComparingLong(entry -> entry.getValue().end()));
        long dataBytes = fileBytes - dataStart;
        long end = 0;
        String previous = null;
        Map<String, Entry> ordered = LinkedHashMap.newLinkedHashMap(sorted.size());
        for (Map.Entry<String, Entry> tensor : sorted) {
            Entry entry = tensor.getValue();
            String name = tensor.getKey();
            if (entry.begin() < end) {
                throw problem(
                        origin,
                        name,
                        "begins at byte "
                                + entry.begin()
                                + " of the data and overlaps tensor "
                                + previous
                                + ", which ends at byte "
                                + end);
            }
            if (entry.begin() > end) {
                throw problem(
                        origin,
                        name,
                        "begins at byte "
                                + entry.begin()
                                + " of the data, but "
                                + (previous == null ? "the data" : "tensor " + previous)
                                + (previous == null ? " begins" : " ends")
                                + " at byte "
                                + end
                                + "; a hole of "
                                + (entry.begin() - end)
                                + " bytes is not allowed");
            }
            ordered.put(name, entry);
            end = entry.end();
            previous = name;
        }
        if (end > dataBytes) {
            throw truncated(ordered, dataStart, end, fileBytes, origin);
        }
        if (end < dataBytes) {
            throw new FileFormatException(
                    origin
                            + ": the file has "
                            + fileBytes
                            + " bytes, but its tensors end at byte "
                            + (dataStart + end)
                            + "; "
                            + (dataBytes - end)
                            + " bytes belong to no tensor");
        }
        return ordered;
    }

    private static FileFormatException truncated(
            Map<String, Entry> ordered, long dataStart, long end, long fileBytes, String origin) {
        long dataBytes = fileBytes - dataStart;
        for (Map.Entry<String, Entry> tensor : ordered.entrySet()) {
            if (tensor.getValue().end() > dataBytes) {
                return problem(
                        origin,
                        tensor.getKey(),
                        "ends at byte "
                                + absolute(dataStart, tensor.getValue().end())
                                + " but the file has "
                                + fileBytes
                                + " bytes; it is truncated by "
                                + (end - dataBytes)
                                + " bytes, fetch it again");
            }
        }
        throw new IllegalArgumentException("no tensor leaves the file");
    }

    /// A position in the file for messages; a hostile header can name one beyond 2^63.
    private static String absolute(long dataStart, long position) {
        return Long.toUnsignedString(dataStart + position);
    }

    private static FileFormatException problem(String origin, String tensor, String what) {
        return new FileFormatException(origin + ": tensor " + tensor + " " + what);
    }
}
