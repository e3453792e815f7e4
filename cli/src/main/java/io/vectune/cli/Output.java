package io.vectune.cli;

import io.vectune.runtime.file.WriteProbe;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import picocli.CommandLine.Model.CommandSpec;

/// Where a command prints: results to `out`, everything else to `err`.
record Output(PrintWriter out, PrintWriter err) {
    static Output of(CommandSpec spec) {
        return new Output(spec.commandLine().getOut(), spec.commandLine().getErr());
    }

    /// A line for the person who waits; never part of the result.
    void note(String format, Object... arguments) {
        err.println(String.format(Locale.ROOT, format, arguments));
        err.flush();
    }

    /// A line of the result.
    void result(String format, Object... arguments) {
        out.println(String.format(Locale.ROOT, format, arguments));
        out.flush();
    }

    /// Whether a path names a safetensors file, by its ending.
    static boolean isSafetensors(Path path) {
        return path.toString().endsWith(".safetensors");
    }

    /// Refuses a result file that already exists or cannot be written, before any work.
    ///
    /// @throws UsageException unless `force` is given
    static void checkFile(Path out, boolean force) {
        if (!force && Files.exists(out)) {
            throw new UsageException("--out " + out + ": already exists; choose another or use --force to replace it");
        }
        WriteProbe.check(out);
    }
}
