package io.vectune.runtime.safetensors;

import io.vectune.runtime.NearMatches;
import io.vectune.runtime.file.AtomicFile;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Tensor;
import java.io.IOException;
import java.io.StringWriter;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.json.JsonFactory;

/// Writes a safetensors file, streaming and atomic.
///
/// All names, dtypes and shapes are declared first; that fixes the header and where each tensor goes. Then the bytes
/// come in any order, a tensor in one piece or in several that follow each other, so that a model larger than the
/// memory can be written. The order in the file is that of the reference library: wide element types first, then by
/// name, and a header padded so that the data starts at a multiple of 8 bytes. Not thread-safe.
///
///     try (SafetensorsWriter writer = SafetensorsWriter.declare(metadata)
///             .tensor("weight", DType.F32, 4, 8)
///             .create(path)) {
///         writer.write("weight", segment);
///         writer.commit();
///     }
public final class SafetensorsWriter implements AutoCloseable {
    /// Element types from the back of the file to its front, as the reference library ranks them.
    private static final List<DType> RANKS =
            List.of(
                    DType.BOOL,
                    DType.U8,
                    DType.I8,
                    DType.F8_E5M2,
                    DType.F8_E4M3,
                    DType.F8_E8M0,
                    DType.F8_E4M3FNUZ,
                    DType.F8_E5M2FNUZ,
                    DType.I16,
                    DType.U16,
                    DType.F16,
                    DType.BF16,
                    DType.I32,
                    DType.U32,
                    DType.F32,
                    DType.C64,
                    DType.F64,
                    DType.I64,
                    DType.U64);

    /// One call of the channel gets at most this much: a ByteBuffer holds less than 2 GiB.
    private static final long PIECE_BYTES = 64L << 20;

    private final AtomicFile file;
    private final long dataStart;
    private final Map<String, SafetensorsHeader.Entry> entries;
    private final Map<String, Long> written = new LinkedHashMap<>();

    private SafetensorsWriter(AtomicFile file, long dataStart, Map<String, SafetensorsHeader.Entry> entries) {
        this.file = file;
        this.dataStart = dataStart;
        this.entries = entries;
        for (String name : entries.keySet()) {
            written.put(name, 0L);
        }
    }

    /// Starts a declaration.
    ///
    /// @param metadata free text for the header; may be empty
    public static Declaration declare(Map<String, String> metadata) {
        return new Declaration(metadata);
    }

    /// Writes a whole file of tensors that are in memory or mapped.
    public static void write(Path target, Map<String, Tensor> tensors, Map<String, String> metadata) {
        Declaration declaration = declare(metadata);
        tensors.forEach((name, tensor) -> declaration.tensor(name, tensor.dtype(), tensor.shape()));
        try (SafetensorsWriter writer = declaration.create(target)) {
            for (String name : writer.entries.keySet()) {
                Tensor tensor = tensors.get(name);
                if (tensor != null) {
                    writer.write(name, tensor.segment());
                }
            }
            writer.commit();
        }
    }

    /// What a file will hold.
    public static final class Declaration {
        private record Shape(DType dtype, List<Long> sizes) {
            long[] toArray() {
                return sizes.stream().mapToLong(Long::longValue).toArray();
            }

            long bytes() {
                return Math.multiplyExact(Tensor.elements(toArray()), (long) dtype.bytes());
            }
        }

        private final Map<String, String> metadata;
        private final Map<String, Shape> shapes = new LinkedHashMap<>();
        private long totalBytes;

        private Declaration(Map<String, String> metadata) {
            this.metadata = new TreeMap<>(metadata);
        }

        /// Declares one tensor.
        ///
        /// @throws IllegalArgumentException if the name is taken or a size is negative
        /// @throws ArithmeticException if the sizes leave a long
        public Declaration tensor(String name, DType dtype, long... shape) {
            Shape declared = new Shape(dtype, Arrays.stream(shape).boxed().toList());
            totalBytes = Math.addExact(totalBytes, declared.bytes());
            if (name.equals(SafetensorsHeader.METADATA)) {
                throw new IllegalArgumentException("a tensor must not be called " + SafetensorsHeader.METADATA);
            }
            if (shapes.putIfAbsent(name, declared) != null) {
                throw new IllegalArgumentException("tensor " + name + " is declared twice");
            }
            return this;
        }

        /// The size of the file that these declarations make.
        public long fileBytes() {
            return totalBytes + SafetensorsHeader.LENGTH_BYTES + header(layout()).length;
        }

        /// Starts the file and writes its header.
        ///
        /// @throws io.vectune.runtime.VectuneException if the place cannot be written
        public SafetensorsWriter create(Path target) {
            Map<String, SafetensorsHeader.Entry> entries = layout();
            byte[] header = header(entries);
            if (header.length > SafetensorsHeader.MAX_BYTES) {
                throw new IllegalArgumentException(
                        target
                                + ": the header takes "
                                + header.length
                                + " bytes, at most "
                                + SafetensorsHeader.MAX_BYTES
                                + " are allowed");
            }
            AtomicFile file = AtomicFile.create(target);
            try {
                ByteBuffer start =
                        ByteBuffer.allocate(SafetensorsHeader.LENGTH_BYTES + header.length)
                                .order(ByteOrder.LITTLE_ENDIAN)
                                .putLong(header.length)
                                .put(header)
                                .flip();
                writeAt(file.channel(), start, 0);
                return new SafetensorsWriter(file, SafetensorsHeader.LENGTH_BYTES + header.length, entries);
            } catch (IOException e) {
                file.close();
                throw FileFailure.writing(target, e);
            }
        }

        private Map<String, SafetensorsHeader.Entry> layout() {
            List<Map.Entry<String, Shape>> sorted =
                    shapes.entrySet().stream()
                            .sorted(
                                    Comparator.comparingInt((Map.Entry<String, Shape> entry) ->
                                                    -RANKS.indexOf(entry.getValue().dtype))
                                            .thenComparing(Map.Entry::getKey))
                            .toList();
            Map<String, SafetensorsHeader.Entry> entries = new LinkedHashMap<>();
            long begin = 0;
            for (Map.Entry<String, Shape> entry : sorted) {
                Shape shape = entry.getValue();
                long end = Math.addExact(begin, shape.bytes());
                entries.put(entry.getKey(), new SafetensorsHeader.Entry(shape.dtype, shape.sizes, begin, end));
                begin = end;
            }
            return entries;
        }

        private byte[] header(Map<String, SafetensorsHeader.Entry> entries) {
            StringWriter text = new StringWriter();
            try (JsonGenerator json = new JsonFactory().createGenerator(ObjectWriteContext.empty(), text)) {
                json.writeStartObject();
                if (!metadata.isEmpty()) {
                    json.writeName(SafetensorsHeader.METADATA);
                    json.writeStartObject();
                    metadata.forEach((key, value) -> {
                        json.writeName(key);
                        json.writeString(value);
                    });
                    json.writeEndObject();
                }
                entries.forEach((name, entry) -> {
                    json.writeName(name);
                    json.writeStartObject();
                    json.writeName("dtype");
                    json.writeString(entry.dtype().name());
                    json.writeName("shape");
                    json.writeArray(entry.shape(), 0, entry.sizes().size());
                    json.writeName("data_offsets");
                    json.writeArray(new long[] {entry.begin(), entry.end()}, 0, 2);
                    json.writeEndObject();
                });
                json.writeEndObject();
            }
            byte[] compact = text.toString().getBytes(StandardCharsets.UTF_8);
            byte[] padded = Arrays.copyOf(compact, (compact.length + 7) / 8 * 8);
            Arrays.fill(padded, compact.length, padded.length, (byte) ' ');
            return padded;
        }
    }

    /// Names in the order of the file: writing in this order is sequential.
    public List<String> names() {
        return List.copyOf(entries.keySet());
    }

    /// Appends bytes to a tensor.
    ///
    /// @param bytes all of the tensor's bytes, or the next piece of them, row-major and little-endian
    /// @throws IllegalArgumentException if the tensor is not declared or would get more bytes than its shape has
    /// @throws io.vectune.runtime.VectuneException if writing fails, as on a full disk
    public void write(String name, MemorySegment bytes) {
        SafetensorsHeader.Entry entry = entries.get(name);
        if (entry == null) {
            throw new IllegalArgumentException(
                    "tensor " + name + " is not declared" + NearMatches.hint(name, entries.keySet()));
        }
        long done = written.getOrDefault(name, 0L);
        long expected = entry.bytes();
        if (bytes.byteSize() > expected - done) {
            throw new IllegalArgumentException(
                    "tensor " + name + ": expected " + expected + " bytes, found " + (done + bytes.byteSize()));
        }
        try {
            long position = dataStart + entry.begin() + done;
            for (long at = 0; at < bytes.byteSize(); at += PIECE_BYTES) {
                long count = Math.min(PIECE_BYTES, bytes.byteSize() - at);
                writeAt(file.channel(), bytes.asSlice(at, count).asByteBuffer(), position + at);
            }
        } catch (IOException e) {
            throw FileFailure.writing(file.target(), e);
        }
        written.put(name, done + bytes.byteSize());
    }

    private static void writeAt(FileChannel channel, ByteBuffer buffer, long position) throws IOException {
        long at = position;
        while (buffer.hasRemaining()) {
            at += channel.write(buffer, at);
        }
    }

    /// Checks that every tensor is complete and moves the file into place.
    ///
    /// @throws IllegalStateException if a tensor lacks bytes
    /// @throws io.vectune.runtime.VectuneException if the file cannot be completed; the target is then unchanged
    public void commit() {
        for (Map.Entry<String, SafetensorsHeader.Entry> declared : entries.entrySet()) {
            long expected = declared.getValue().bytes();
            long found = written.getOrDefault(declared.getKey(), 0L);
            if (found != expected) {
                throw new IllegalStateException(
                        file.target()
                                + ": tensor "
                                + declared.getKey()
                                + ": expected "
                                + expected
                                + " bytes, "
                                + found
                                + " were written");
            }
        }
        file.commit();
    }

    /// Gives up an uncommitted file; after a commit does nothing.
    @Override
    public void close() {
        file.close();
    }
}
