package io.vectune.cli;

import io.vectune.runtime.file.OutputDirectory;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/// Where a command writes its result, and whether it may replace what is there.
final class OutputOptions {
    @Option(names = "--out", required = true, paramLabel = "PATH", description = "Directory or file to write.")
    @SuppressWarnings("NullAway.Init")
    private Path out;

    @Option(names = "--force", description = "Replace what is there: a file, or files of a directory.")
    private boolean force;

    /// The path as the user gave it.
    Path path() {
        return out;
    }

    /// Whether existing files may be replaced.
    boolean force() {
        return force;
    }

    /// Refuses a result file that already exists, or that cannot be written, before any work.
    void checkFile() {
        Output.checkFile(out, force);
    }

    /// Refuses a result directory that already holds something, or that cannot be written, before any work.
    void checkDirectory() {
        OutputDirectory.check(out, force);
    }
}
