package io.vectune.cli;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.FileFailure;
import io.vectune.runtime.file.WriteProbe;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/// Keeps two runs from working toward one result: a locked hidden file beside it, removed at the end. The system drops
/// the lock of a process that was killed.
final class OutputLock implements AutoCloseable {
    private final Path file;
    private final FileChannel channel;

    private OutputLock(Path file, FileChannel channel) {
        this.file = file;
        this.channel = channel;
    }

    /// Locks a result.
    ///
    /// @throws VectuneException if another run works on it, or its place cannot be written
    static OutputLock of(Path out) {
        WriteProbe.check(out);
        Path target = out.toAbsolutePath().normalize();
        Path file = target.resolveSibling("." + target.getFileName() + ".lock");
        Path parent = file.getParent();
        try {
            if (parent != null) {
                Files.createDirectories(parent);
            }
            while (true) {
                FileChannel channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
                if (!isLocked(channel)) {
                    channel.close();
                    throw new VectuneException(
                            out + ": another run writes its result there; wait for its end, or choose another --out");
                }
                if (Files.exists(file)) {
                    return new OutputLock(file, channel);
                }
                // Its last owner removed the file between the two calls: the lock is on a file without a name.
                channel.close();
            }
        } catch (IOException failure) {
            throw FileFailure.writing(out, failure);
        }
    }

    private static boolean isLocked(FileChannel channel) throws IOException {
        try {
            return channel.tryLock() != null;
        } catch (OverlappingFileLockException ofThisProcess) {
            return false;
        }
    }

    @Override
    public void close() {
        try (channel) {
            Files.deleteIfExists(file);
        } catch (IOException failure) {
            throw FileFailure.writing(file, failure);
        }
    }
}
