package io.vectune.quant.torch;

import io.vectune.runtime.FileFormatException;
import io.vectune.runtime.file.FileFailure;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// A zip archive whose entries are stored without compression, mapped: an entry is a view of the file.
///
/// Sizes and offsets come from the central directory, with their 64-bit forms where they are needed, and are checked
/// against the file before anything is read. Source: APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
final class StoredZip {
    private static final int END_SIGNATURE = 0x06054b50;
    private static final int END_BYTES = 22;
    private static final int LOCATOR_SIGNATURE = 0x07064b50;
    private static final int LOCATOR_BYTES = 20;
    private static final int END64_SIGNATURE = 0x06064b50;
    private static final int END64_BYTES = 56;
    private static final int CENTRAL_SIGNATURE = 0x02014b50;
    private static final int CENTRAL_BYTES = 46;
    private static final int LOCAL_SIGNATURE = 0x04034b50;
    private static final int LOCAL_BYTES = 30;
    private static final int LONGEST_COMMENT = 0xffff;
    private static final long IN_EXTRA_FIELD = 0xffffffffL;

    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final Path path;
    private final MemorySegment file;
    private final Map<String, MemorySegment> entries = new LinkedHashMap<>();

    private StoredZip(Path path, MemorySegment file) {
        this.path = path;
        this.file = file;
    }

    /// Maps an archive.
    ///
    /// @throws FileFormatException if the file is no zip archive, is damaged, or has a compressed entry
    static StoredZip open(Path path, Arena arena) {
        try (FileChannel channel = FileChannel.open(path)) {
            StoredZip zip = new StoredZip(path, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
            zip.readDirectory();
            return zip;
        } catch (IOException e) {
            throw FileFailure.reading(path, e);
        }
    }

    /// The names of all entries.
    Set<String> names() {
        return entries.keySet();
    }

    /// The bytes of an entry.
    Optional<MemorySegment> entry(String name) {
        return Optional.ofNullable(entries.get(name));
    }

    private void readDirectory() {
        long end = endRecord();
        long count = unsigned(end + 10, 2);
        long size = unsigned(end + 12, 4);
        long start = unsigned(end + 16, 4);
        if (end >= LOCATOR_BYTES && file.get(INT, end - LOCATOR_BYTES) == LOCATOR_SIGNATURE) {
            long end64 = file.get(LONG, end - LOCATOR_BYTES + 8);
            check(end64, END64_BYTES, "the 64-bit end record");
            if (file.get(INT, end64) != END64_SIGNATURE) {
                throw damaged("the 64-bit end record");
            }
            count = file.get(LONG, end64 + 32);
            size = file.get(LONG, end64 + 40);
            start = file.get(LONG, end64 + 48);
        }
        check(start, size, "the directory");
        long at = start;
        for (long i = 0; i < count; i++) {
            at = readEntry(at, start + size);
        }
    }

    private long endRecord() {
        long last = file.byteSize() - END_BYTES;
        for (long at = last; at >= 0 && at >= last - LONGEST_COMMENT; at--) {
            if (file.get(INT, at) == END_SIGNATURE) {
                return at;
            }
        }
        throw new FileFormatException(path + ": expected a zip archive of torch.save, found another file or a cut one");
    }

    private long readEntry(long at, long directoryEnd) {
        if (at < 0 || at + CENTRAL_BYTES > directoryEnd || file.get(INT, at) != CENTRAL_SIGNATURE) {
            throw damaged("the directory");
        }
        int nameLength = (int) unsigned(at + 28, 2);
        int extraLength = (int) unsigned(at + 30, 2);
        int commentLength = (int) unsigned(at + 32, 2);
        long next = at + CENTRAL_BYTES + nameLength + extraLength + commentLength;
        if (next > directoryEnd) {
            throw damaged("the directory");
        }
        byte[] nameBytes = file.asSlice(at + CENTRAL_BYTES, nameLength).toArray(ValueLayout.JAVA_BYTE);
        String name = new String(nameBytes, StandardCharsets.UTF_8);
        if (unsigned(at + 10, 2) != 0) {
            throw new FileFormatException(path + ": entry " + name + ": expected it stored, found it compressed");
        }
        long stored = unsigned(at + 20, 4);
        long size = unsigned(at + 24, 4);
        long local = unsigned(at + 42, 4);
        long extra = at + CENTRAL_BYTES + nameLength;
        long extraEnd = extra + extraLength;
        while (extra + 4 <= extraEnd) {
            long fieldEnd = extra + 4 + unsigned(extra + 2, 2);
            if (fieldEnd > extraEnd) {
                throw damaged("entry " + name);
            }
            if (unsigned(extra, 2) == 1) {
                long value = extra + 4;
                if (size == IN_EXTRA_FIELD && value + 8 <= fieldEnd) {
                    size = file.get(LONG, value);
                    value += 8;
                }
                if (stored == IN_EXTRA_FIELD && value + 8 <= fieldEnd) {
                    stored = file.get(LONG, value);
                    value += 8;
                }
                if (local == IN_EXTRA_FIELD && value + 8 <= fieldEnd) {
                    local = file.get(LONG, value);
                }
            }
            extra = fieldEnd;
        }
        check(local, LOCAL_BYTES, "entry " + name);
        if (file.get(INT, local) != LOCAL_SIGNATURE || size != stored) {
            throw damaged("entry " + name);
        }
        long data = local + LOCAL_BYTES + unsigned(local + 26, 2) + unsigned(local + 28, 2);
        check(data, size, "entry " + name);
        if (entries.put(name, file.asSlice(data, size)) != null) {
            throw new FileFormatException(path + ": entry " + name + " is there twice");
        }
        return next;
    }

    private long unsigned(long at, int bytes) {
        return bytes == 2 ? file.get(SHORT, at) & 0xffffL : file.get(INT, at) & 0xffffffffL;
    }

    private void check(long at, long size, String what) {
        if (at < 0 || size < 0 || at > file.byteSize() - size) {
            throw damaged(what);
        }
    }

    private FileFormatException damaged(String what) {
        return new FileFormatException(
                path + ": " + what + " leaves the file or has no signature; the file is damaged, fetch it again");
    }
}
