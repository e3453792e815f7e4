package io.vectune.quant.gguf;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/// Reads the header of a GGUF file: every count, length and offset is checked against the bytes that are there before
/// anything is allocated or read with it.
///
///     magic "GGUF" | version u32 | tensors u64 | metadata u64
///     metadata:    key string | value type u32 | value            string: length u64, bytes; array: type u32, count u64
///     tensor:      name string | dimensions u32 | sizes u64[], innermost first | type u32 | offset u64
///     data, from the next multiple of general.alignment (32 where not given)
final class GgufHeaderReader {
    private static final int MAGIC = 0x46554747;
    private static final int MIN_METADATA_BYTES = 8 + 4 + 1;
    private static final int MIN_TENSOR_BYTES = 8 + 4 + 4 + 8;
    private static final int MAX_AXES = 4;
    private static final long MAX_KEY_BYTES = 65_535;
    private static final long DEFAULT_ALIGNMENT = 32;

    private final String origin;
    private final MemorySegment file;
    private final long size;
    private long at;

    private int version;
    private final Map<String, GgufMetadata.Entry> metadata = new LinkedHashMap<>();
    private final Map<String, GgufTensor> tensors = new LinkedHashMap<>();

    GgufHeaderReader(String origin, MemorySegment file) {
        this.origin = origin;
        this.file = file;
        this.size = file.byteSize();
    }

    int version() {
        return version;
    }

    Map<String, GgufMetadata.Entry> metadata() {
        return metadata;
    }

    Map<String, GgufTensor> tensors() {
        return tensors;
    }

    void read() {
        if (size < 24) {
            throw fail("expected a GGUF header of 24 bytes or more, found a file of " + size);
        }
        int magic = u32("magic");
        if (magic != MAGIC) {
            throw fail("expected the magic GGUF, found 0x" + Integer.toHexString(magic) + "; this is no GGUF file");
        }
        version = u32("version");
        if (version != 2 && version != 3) {
            String hint =
                    Integer.reverseBytes(version) <= 3 && Integer.reverseBytes(version) > 0
                            ? "; the file is big-endian, convert it to little-endian"
                            : "";
            throw fail("expected GGUF version 2 or 3, found " + Integer.toUnsignedString(version) + hint);
        }
        int tensorCount = count("number of tensors", MIN_TENSOR_BYTES);
        int metadataCount = count("number of metadata entries", MIN_METADATA_BYTES);
        for (int i = 0; i < metadataCount; i++) {
            readMetadata(i);
        }
        readTensors(tensorCount, alignment());
    }

    private void readMetadata(int index) {
        String key = string("key of metadata entry " + index);
        GgufValueType type = valueType(key);
        GgufMetadata.Entry entry;
        if (type == GgufValueType.ARRAY) {
            GgufValueType elementType = valueType(key);
            if (elementType == GgufValueType.ARRAY) {
                throw fail("metadata " + key + ": expected an array of plain values, found an array of arrays");
            }
            int count = count("number of elements of " + key, Math.max(elementType.bytes(), minBytes(elementType)));
            entry = new GgufMetadata.Entry(type, elementType, count, at);
            for (int i = 0; i < (elementType == GgufValueType.STRING ? count : 0); i++) {
                skipString(key);
            }
            if (elementType != GgufValueType.STRING) {
                at += (long) count * elementType.bytes();
            }
        } else {
            entry = new GgufMetadata.Entry(type, type, 1, at);
            if (type == GgufValueType.STRING) {
                skipString(key);
            } else {
                need(type.bytes(), key);
                at += type.bytes();
            }
        }
        if (metadata.putIfAbsent(key, entry) != null) {
            throw fail("metadata key " + key + " occurs twice");
        }
    }

    private static int minBytes(GgufValueType type) {
        return type == GgufValueType.STRING ? 8 : 1;
    }

    private GgufValueType valueType(String key) {
        int id = u32("value type of " + key);
        GgufValueType[] types = GgufValueType.values();
        if (id < 0 || id >= types.length) {
            throw fail("metadata " + key + ": unknown value type " + Integer.toUnsignedString(id));
        }
        return types[id];
    }

    private long alignment() {
        GgufMetadata.Entry entry = metadata.get("general.alignment");
        if (entry == null) {
            return DEFAULT_ALIGNMENT;
        }
        if (entry.type() != GgufValueType.UINT32) {
            throw fail("metadata general.alignment: expected UINT32, found " + entry.type());
        }
        long alignment = Integer.toUnsignedLong(file.get(Tensor.INT, entry.offset()));
        if (alignment == 0 || Long.bitCount(alignment) != 1) {
            throw fail("metadata general.alignment: expected a power of two, found " + alignment);
        }
        return alignment;
    }

    private static final class Description {
        final String name;
        final GgufType type;
        final long[] shape;
        final long bytes;
        final long offset;

        Description(String name, GgufType type, long[] shape, long bytes, long offset) {
            this.name = name;
            this.type = type;
            this.shape = shape;
            this.bytes = bytes;
            this.offset = offset;
        }
    }

    private void readTensors(int count, long alignment) {
        Description[] descriptions = new Description[count];
        for (int i = 0; i < count; i++) {
            descriptions[i] = description(i);
        }
        long dataStart = (at + alignment - 1) / alignment * alignment;
        for (Description tensor : descriptions) {
            tensors.put(tensor.name, place(tensor, dataStart, alignment));
        }
        if (tensors.size() != count) {
            throw fail("a tensor name occurs twice");
        }
        checkOverlap(descriptions);
    }

    private Description description(int index) {
        String name = string("name of tensor " + index);
        int axes = u32("number of dimensions of " + name);
        if (axes < 0 || axes > MAX_AXES) {
            throw fail(
                    "tensor "
                            + name
                            + ": expected at most "
                            + MAX_AXES
                            + " dimensions, found "
                            + Integer.toUnsignedString(axes));
        }
        long[] shape = new long[axes];
        for (int axis = axes - 1; axis >= 0; axis--) {
            shape[axis] = u64("dimensions of " + name);
            if (shape[axis] < 0) {
                throw fail("tensor " + name + ": absurd dimension " + Long.toUnsignedString(shape[axis]));
            }
        }
        int typeId = u32("type of " + name);
        GgufType type =
                GgufType.ofId(typeId)
                        .orElseThrow(
                                () -> fail("tensor " + name + ": unknown type " + Integer.toUnsignedString(typeId)));
        long offset = u64("offset of " + name);
        return new Description(name, type, shape, bytes(name, type, shape), offset);
    }

    private long bytes(String name, GgufType type, long[] shape) {
        long inner = shape.length == 0 ? 1 : shape[shape.length - 1];
        if (inner % type.blockElements() != 0) {
            throw fail(
                    "tensor "
                            + name
                            + ": expected rows of a multiple of "
                            + type.blockElements()
                            + " elements for "
                            + type
                            + ", found "
                            + inner);
        }
        try {
            return Math.multiplyExact(Tensor.elements(shape) / type.blockElements(), (long) type.blockBytes());
        } catch (ArithmeticException overflow) {
            throw new FileFormatException(
                    origin + ": tensor " + name + ": absurd shape " + Arrays.toString(shape), overflow);
        }
    }

    private GgufTensor place(Description tensor, long dataStart, long alignment) {
        if (tensor.offset < 0 || tensor.offset % alignment != 0) {
            throw fail(
                    "tensor "
                            + tensor.name
                            + ": expected an offset that is a multiple of the alignment "
                            + alignment
                            + ", found "
                            + Long.toUnsignedString(tensor.offset));
        }
        long available = Math.max(0, size - dataStart);
        if (tensor.offset > available || tensor.bytes > available - tensor.offset) {
            throw fail(
                    "tensor "
                            + tensor.name
                            + " needs "
                            + tensor.bytes
                            + " bytes at offset "
                            + tensor.offset
                            + " of the data, but the data has "
                            + available
                            + " bytes; the file is truncated, fetch it again");
        }
        MemorySegment segment = file.asSlice(Math.min(size, dataStart + tensor.offset), tensor.bytes);
        return new GgufTensor(origin, tensor.name, tensor.type, tensor.shape, segment);
    }

    private void checkOverlap(Description[] descriptions) {
        Description[] byOffset = descriptions.clone();
        Arrays.sort(byOffset, (a, b) -> Long.compare(a.offset, b.offset));
        for (int i = 1; i < byOffset.length; i++) {
            Description before = byOffset[i - 1];
            if (before.offset + before.bytes > byOffset[i].offset && byOffset[i].bytes > 0) {
                throw fail("tensors " + before.name + " and " + byOffset[i].name + " overlap");
            }
        }
    }

    private void need(long bytes, String what) {
        if (bytes > size - at) {
            throw fail("the file ends in " + what + ", at byte " + size + "; it is truncated, fetch it again");
        }
    }

    private int u32(String what) {
        need(4, what);
        int value = file.get(Tensor.INT, at);
        at += 4;
        return value;
    }

    private long u64(String what) {
        need(8, what);
        long value = file.get(Tensor.LONG, at);
        at += 8;
        return value;
    }

    /// A count of things that take at least `minBytes` each.
    private int count(String what, int minBytes) {
        long value = u64(what);
        if (value < 0 || value > (size - at) / minBytes || value > Integer.MAX_VALUE - 8) {
            throw fail(
                    what
                            + ": found "
                            + Long.toUnsignedString(value)
                            + ", which "
                            + (size - at)
                            + " bytes cannot hold; the file is damaged");
        }
        return (int) value;
    }

    private String string(String what) {
        need(8, what);
        long length = file.get(Tensor.LONG, at);
        if (length < 0 || length > MAX_KEY_BYTES) {
            throw fail(
                    what
                            + ": expected at most "
                            + MAX_KEY_BYTES
                            + " bytes, found a length of "
                            + Long.toUnsignedString(length));
        }
        need(8 + length, what);
        String value = GgufMetadata.stringAt(file, at);
        at += 8 + length;
        return value;
    }

    private void skipString(String key) {
        long length = u64("value of " + key);
        if (length < 0 || length > size - at || length > Integer.MAX_VALUE - 8) {
            throw fail(
                    "metadata "
                            + key
                            + ": a string of "
                            + Long.toUnsignedString(length)
                            + " bytes does not fit the file");
        }
        at += length;
    }

    private FileFormatException fail(String message) {
        return new FileFormatException(origin + ": " + message);
    }
}
