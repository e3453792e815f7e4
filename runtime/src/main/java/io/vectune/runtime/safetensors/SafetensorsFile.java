package io.vectune.runtime.safetensors;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.tensor.Tensor;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.Map;
import java.util.Set;

/// One safetensors file, mapped. Tensors are read-only views of the mapping, of any size, and live as long as the
/// arena. The file is never opened for writing.
public final class SafetensorsFile implements TensorSource {
    private final Path path;
    private final MemorySegment data;
    private final Map<String, SafetensorsHeader.Entry> entries;
    private final Map<String, String> metadata;

    private SafetensorsFile(Path path, MemorySegment data, SafetensorsHeader header) {
        this.path = path;
        this.data = data;
        this.entries = Collections.unmodifiableMap(header.entries());
        this.metadata = Collections.unmodifiableMap(header.metadata());
    }

    /// Maps a file and checks its header against its size.
    ///
    /// @param arena owns the mapping; close it when the tensors are no longer used
    /// @throws FileFormatException if the content is not what the format promises
    /// @throws io.vectune.runtime.VectuneException if the file cannot be read
    public static SafetensorsFile open(Path path, Arena arena) {
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            if (Files.isDirectory(path)) {
                throw new IOException("it is a directory, expected a .safetensors file");
            }
            long size = channel.size();
            if (size < SafetensorsHeader.LENGTH_BYTES) {
                throw new FileFormatException(
                        path
                                + ": expected a safetensors file, which starts with 8 bytes of header length; found "
                                + size
                                + " bytes in all");
            }
            MemorySegment mapped = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
            long headerBytes = mapped.get(Tensor.LONG, 0);
            checkHeaderLength(path, headerBytes, size);
            byte[] json = mapped.asSlice(SafetensorsHeader.LENGTH_BYTES, headerBytes).toArray(ValueLayout.JAVA_BYTE);
            if (json.length == 0 || json[0] != '{') {
                throw new FileFormatException(
                        path + ": expected a header that is a JSON object; this is not a safetensors file");
            }
            InputStream stream = new ByteArrayInputStream(json);
            SafetensorsHeader header = SafetensorsHeader.parse(stream, headerBytes, size, path.toString());
            return new SafetensorsFile(path, mapped.asSlice(SafetensorsHeader.LENGTH_BYTES + headerBytes), header);
        } catch (IOException e) {
            throw FileFailure.reading(path, e);
        }
    }

    private static void checkHeaderLength(Path path, long headerBytes, long size) {
        if (headerBytes < 0 || headerBytes > SafetensorsHeader.MAX_BYTES) {
            throw new FileFormatException(
                    path
                            + ": the header claims "
                            + Long.toUnsignedString(headerBytes)
                            + " bytes, expected at most "
                            + SafetensorsHeader.MAX_BYTES
                            + "; this is not a safetensors file");
        }
        if (headerBytes > size - SafetensorsHeader.LENGTH_BYTES) {
            throw new FileFormatException(
                    path
                            + ": the header claims "
                            + headerBytes
                            + " bytes but the file has "
                            + size
                            + "; it is truncated or not a safetensors file");
        }
    }

    @Override
    public Set<String> names() {
        return entries.keySet();
    }

    @Override
    public Tensor tensor(String name) {
        SafetensorsHeader.Entry entry = entries.get(name);
        if (entry == null) {
            throw missing(name);
        }
        return Tensor.of(entry.dtype(), entry.shape(), data.asSlice(entry.begin(), entry.bytes()));
    }

    @Override
    public Map<String, String> metadata() {
        return metadata;
    }

    @Override
    public String origin() {
        return path.toString();
    }
}
