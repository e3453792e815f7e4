package io.vectune.runtime.file;

import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.Locale;

/// Turns what the operating system reports into one line for the user.
public final class FileFailure {
    private FileFailure() {}

    /// The exception for a file or directory that could not be read.
    public static VectuneException reading(Path path, IOException cause) {
        return new VectuneException(path + ": cannot be read: " + reason(path, cause), cause);
    }

    /// The exception for a file or directory that could not be written. Nothing was left half-written.
    public static VectuneException writing(Path path, IOException cause) {
        return new VectuneException(
                TemporaryNames.targetOf(path)
                        + ": cannot be written: "
                        + reason(path, cause)
                        + "; nothing was changed there",
                cause);
    }

    private static String reason(Path path, IOException cause) {
        String text = cause instanceof FileSystemException failure ? failure.getReason() : cause.getMessage();
        if (cause instanceof NoSuchFileException missing) {
            return path.toString().equals(missing.getFile())
                    ? "no such file or directory"
                    : missing.getFile() + " does not exist";
        }
        if (cause instanceof AccessDeniedException) {
            return "permission denied";
        }
        if (cause instanceof NotDirectoryException) {
            return "not a directory";
        }
        if (text == null) {
            return cause.getClass().getSimpleName();
        }
        String lower = text.toLowerCase(Locale.ROOT);
        if (lower.contains("no space left") || lower.contains("not enough space") || lower.contains("quota exceeded")) {
            return "the disk is full (" + firstLine(text) + ")";
        }
        return firstLine(text);
    }

    private static String firstLine(String text) {
        return text.lines().findFirst().orElse(text);
    }
}
