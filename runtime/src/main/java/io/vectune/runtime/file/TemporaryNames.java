package io.vectune.runtime.file;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Names for unfinished files and directories: hidden, beside the target (so that a move is atomic), never reused.
final class TemporaryNames {
    private static final Pattern PARTIAL = Pattern.compile("\\.(.+)\\.[0-9a-f]{8}\\.partial");

    private TemporaryNames() {}

    /// The path that an unfinished file, or a file in an unfinished directory, will have: what people know it by.
    static Path targetOf(Path path) {
        Path result = path.isAbsolute() ? path.getRoot() : path.getFileSystem().getPath("");
        for (Path part : path) {
            Matcher partial = PARTIAL.matcher(part.toString());
            result = result.resolve(partial.matches() ? partial.group(1) : part.toString());
        }
        return result;
    }

    /// A free name beside `target`; missing parent directories are made.
    static Path beside(Path target) throws IOException {
        Path parent = target.toAbsolutePath().normalize().getParent();
        Path name = target.toAbsolutePath().normalize().getFileName();
        if (parent == null || name == null) {
            throw new IOException("expected a path with a name, found the root of the file system");
        }
        Files.createDirectories(parent);
        String unique = UUID.randomUUID().toString().substring(0, 8);
        return parent.resolve("." + name + "." + unique + ".partial");
    }
}
