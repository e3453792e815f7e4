package io.vectune.runtime.file;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/// Finds out before hours of work whether their result can be written.
public final class WriteProbe {
    private WriteProbe() {}

    /// Makes and removes a hidden file in the directory that will hold `target`, or in the nearest one above it that is
    /// there.
    ///
    /// @throws io.vectune.runtime.VectuneException if that fails; the message names `target` and the reason
    public static void check(Path target) {
        try {
            Path directory = nearestExisting(target.toAbsolutePath().normalize());
            if (directory == null || !Files.isDirectory(directory)) {
                throw new NotDirectoryException(String.valueOf(directory));
            }
            makeAndRemoveFile(directory);
        } catch (IOException e) {
            throw FileFailure.writing(target, e);
        }
    }

    private static void makeAndRemoveFile(Path directory) throws IOException {
        Path probe = directory.resolve(".vectune." + UUID.randomUUID() + ".probe");
        try {
            Files.createFile(probe);
            Files.delete(probe);
        } catch (NoSuchFileException e) {
            // A directory of the system that takes no files, such as /proc.
            throw new IOException("no file can be made in " + directory, e);
        }
    }

    private static @Nullable Path nearestExisting(Path target) {
        Path candidate = Files.isDirectory(target) ? target : target.getParent();
        while (candidate != null && !Files.exists(candidate)) {
            candidate = candidate.getParent();
        }
        return candidate;
    }
}
