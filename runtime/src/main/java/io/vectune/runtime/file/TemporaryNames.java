package io.vectune.runtime.file;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.UUID;

/// Names for unfinished files and directories: hidden, beside the target (so that a move is atomic), never reused.
final class TemporaryNames {
    private TemporaryNames() {}

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
