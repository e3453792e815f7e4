package io.vectune.cli;

import io.vectune.runtime.VectuneException;
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
    ///
    /// @throws VectuneException if nobody can take it
    void result(String format, Object... arguments) {
        out.println(String.format(Locale.ROOT, format, arguments));
        flush(out);
    }

    /// Sends on what was printed.
    ///
    /// @throws VectuneException if nobody can take it: a full disk, a pipe whose reader has gone
    static void flush(PrintWriter out) {
        if (out.checkError()) {
            throw new VectuneException(
                    "standard output: cannot be written: the disk behind it is full, or its reader has gone");
        }
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
