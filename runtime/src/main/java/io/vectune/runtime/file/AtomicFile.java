package io.vectune.runtime.file;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/// A file that appears at its target complete or not at all.
///
/// The bytes go to a hidden file beside the target; [#commit] forces them to the disk and moves the file into place.
/// Closing without a commit removes the hidden file and leaves the target as it was. Not thread-safe.
///
///     try (AtomicFile file = AtomicFile.create(target)) {
///         ... file.channel() ...
///         file.commit();
///     }
public final class AtomicFile implements AutoCloseable {
    private final Path target;
    private final Path temporary;
    private final FileChannel channel;
    private boolean committed;

    private AtomicFile(Path target, Path temporary, FileChannel channel) {
        this.target = target;
        this.temporary = temporary;
        this.channel = channel;
    }

    /// Starts to write `target`; missing parent directories are made.
    ///
    /// @throws io.vectune.runtime.VectuneException if the place cannot be written or the target is a directory or a
    ///   device
    public static AtomicFile create(Path target) {
        try {
            if (Files.isDirectory(target)) {
                throw new IOException("it is a directory, expected a file name");
            }
            if (Files.exists(target) && !Files.isRegularFile(target)) {
                throw new IOException("it is not a regular file");
            }
            // A link stays a link: the file that it names is replaced.
            Path file = Files.exists(target) ? target.toRealPath() : target;
            Path temporary = TemporaryNames.beside(file);
            FileChannel channel =
                    FileChannel.open(
                            temporary,
                            StandardOpenOption.CREATE_NEW,
                            StandardOpenOption.READ,
                            StandardOpenOption.WRITE);
            return new AtomicFile(file, temporary, channel);
        } catch (IOException e) {
            throw FileFailure.writing(target, e);
        }
    }

    /// Where the bytes go.
    public FileChannel channel() {
        return channel;
    }

    /// The path that the file will have.
    public Path target() {
        return target;
    }

    /// Forces the bytes to the disk and moves the file into place, over an existing file if there is one.
    ///
    /// @throws io.vectune.runtime.VectuneException if that fails; the target is then unchanged
    public void commit() {
        try {
            channel.force(true);
            channel.close();
            move(temporary, target);
            committed = true;
        } catch (IOException e) {
            throw FileFailure.writing(target, e);
        }
    }

    /// Gives up an uncommitted file; after a commit does nothing.
    @Override
    public void close() {
        try {
            channel.close();
            if (!committed) {
                Files.deleteIfExists(temporary);
            }
        } catch (IOException e) {
            throw FileFailure.writing(target, e);
        }
    }

    /// What produces a file's content.
    @FunctionalInterface
    public interface Content {
        void writeTo(OutputStream out) throws IOException;
    }

    /// Writes a whole file.
    public static void write(Path target, Content content) {
        try (AtomicFile file = create(target)) {
            try {
                content.writeTo(Channels.newOutputStream(file.channel));
            } catch (IOException e) {
                throw FileFailure.writing(target, e);
            }
            file.commit();
        }
    }

    /// Writes a whole file.
    public static void write(Path target, byte[] content) {
        write(target, out -> out.write(content));
    }

    /// Writes a whole text file in UTF-8.
    public static void write(Path target, String content) {
        write(target, content.getBytes(StandardCharsets.UTF_8));
    }

    /// Moves within one directory, atomically where the file system can, and forces the directory's entry to the disk.
    static void move(Path from, Path to) throws IOException {
        try {
            Files.move(from, to, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (AtomicMoveNotSupportedException e) {
            Files.move(from, to, StandardCopyOption.REPLACE_EXISTING);
        }
        Path directory = to.toAbsolutePath().getParent();
        if (directory != null) {
            try (FileChannel entry = FileChannel.open(directory, StandardOpenOption.READ)) {
                entry.force(true);
            } catch (IOException e) {
                // Directories cannot be opened on every system; the move itself has succeeded.
                return;
            }
        }
    }
}
