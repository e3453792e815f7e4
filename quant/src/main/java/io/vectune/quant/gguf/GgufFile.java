package io.vectune.quant.gguf;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.Map;

/// An open GGUF file (versions 2 and 3, little-endian), mapped.
///
///     try (Arena arena = Arena.ofShared()) {
///         GgufFile file = GgufFile.open(Path.of("model.gguf"), arena);
///         int layers = file.metadata().integer("llama.block_count");
///         Weight query = file.tensor("blk.0.attn_q.weight").weight();
///     }
///
/// Source: the GGUF specification of ggml.
public final class GgufFile {
    private final String origin;
    private final int version;
    private final GgufMetadata metadata;
    private final Map<String, GgufTensor> tensors;

    private GgufFile(String origin, MemorySegment segment) {
        GgufHeaderReader reader = new GgufHeaderReader(origin, segment);
        reader.read();
        this.origin = origin;
        this.version = reader.version();
        this.metadata = new GgufMetadata(origin, segment, reader.metadata());
        this.tensors = Collections.unmodifiableMap(reader.tensors());
    }

    /// Maps a file and reads its header.
    ///
    /// @param arena owns the mapping; tensors and metadata live as long as it does
    /// @throws FileFormatException if the header is damaged or points outside the file
    /// @throws VectuneException if the file cannot be read
    public static GgufFile open(Path path, Arena arena) {
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            return of(path.toString(), channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
        } catch (IOException unreadable) {
            throw new VectuneException(path + ": cannot be read: " + unreadable.getMessage(), unreadable);
        }
    }

    /// Reads a file that is in memory already.
    ///
    /// @param origin its name in messages
    /// @param segment the whole file
    public static GgufFile of(String origin, MemorySegment segment) {
        return new GgufFile(origin, segment);
    }

    /// The file's name in messages.
    public String origin() {
        return origin;
    }

    /// Version of the format: 2 or 3.
    public int version() {
        return version;
    }

    /// The metadata.
    public GgufMetadata metadata() {
        return metadata;
    }

    /// All tensors by name, in the order of the file.
    public Map<String, GgufTensor> tensors() {
        return tensors;
    }

    /// Whether there is a tensor of that name.
    public boolean hasTensor(String name) {
        return tensors.containsKey(name);
    }

    /// A tensor.
    ///
    /// @throws FileFormatException if there is none of that name
    public GgufTensor tensor(String name) {
        GgufTensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new FileFormatException(origin + ": expected a tensor " + name + ", the file has none");
        }
        return tensor;
    }
}
