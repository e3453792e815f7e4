package io.vectune.cli;

import io.vectune.adapters.file.AdapterFiles.Format;
import io.vectune.adapters.file.LoraLiteFile;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.safetensors.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/// Where a tuning run puts its files: a directory with the adapter, the report and the checkpoint; or a single file,
/// with report and checkpoint beside it.
///
/// @param adapter directory or file
/// @param directory whether it is a directory
record TuneTarget(Path adapter, boolean directory, Path report, Path checkpoint) {
    /// The target of a run over a decoder: a PEFT directory; or, going on with an adapter that is a single file, such a
    /// file again.
    ///
    /// @param out what `--out` names
    /// @param initFrom the adapter that is continued, or null for a new one
    static TuneTarget of(Path out, @Nullable Path initFrom) {
        if (initFrom == null || !Files.isRegularFile(initFrom)) {
            return directory(out);
        }
        if (!Output.isSafetensors(out)) {
            throw new UsageException(
                    "--out "
                            + out
                            + ": expected a name that ends in .safetensors, as "
                            + initFrom
                            + " is a single file and the result has its format");
        }
        return file(out);
    }

    /// The target of a run over a Flux transformer: a .safetensors file, or a directory that holds one under the name
    /// that diffusers looks for.
    static TuneTarget ofFlux(Path out) {
        return Output.isSafetensors(out) ? file(out) : directory(out);
    }

    private static TuneTarget directory(Path out) {
        return new TuneTarget(out, true, out.resolve(TuningReport.FILE), out.resolve("checkpoint.safetensors"));
    }

    private static TuneTarget file(Path out) {
        return new TuneTarget(
                out,
                false,
                out.resolveSibling(out.getFileName() + "." + TuningReport.FILE),
                out.resolveSibling(out.getFileName() + ".checkpoint"));
    }

    /// The format of a continued adapter of a decoder; PEFT for a new one.
    static Format format(@Nullable Path initFrom) {
        if (initFrom == null || !Files.isRegularFile(initFrom)) {
            return Format.PEFT;
        }
        if (LoraLiteFile.isOne(initFrom)) {
            return Format.LORA_LITE;
        }
        try (Arena arena = Arena.ofConfined()) {
            boolean kohya =
                    SafetensorsFile.open(initFrom, arena).names().stream().anyMatch(name -> name.contains("lora_down"));
            return kohya ? Format.KOHYA : Format.DIFFUSERS;
        }
    }

    /// Refuses what would be overwritten, before any work, and keeps other runs away from it until the end.
    OutputLock lock(boolean resume, boolean force) {
        OutputLock lock = OutputLock.of(adapter);
        try {
            check(resume, force);
            return lock;
        } catch (RuntimeException refused) {
            lock.close();
            throw refused;
        }
    }

    private void check(boolean resume, boolean force) {
        boolean interrupted = Files.isRegularFile(checkpoint);
        if (interrupted && !resume && !force) {
            throw new VectuneException(
                    checkpoint
                            + ": is the checkpoint of an interrupted run; use --resume to go on from"
                            + " it, or --force to start again");
        }
        if (!interrupted && resume) {
            throw new VectuneException(
                    checkpoint + ": expected the checkpoint to resume from, found none; run without --resume to start");
        }
        if (interrupted) {
            return;
        }
        if (directory) {
            OutputDirectory.check(adapter, force);
        } else {
            Output.checkFile(adapter, force);
        }
    }

    /// Writes the adapter and its report and removes the checkpoint.
    ///
    /// @param writer writes the adapter at a path
    void write(Consumer<Path> writer, TuningReport result) {
        writer.accept(adapter);
        result.write(report);
        removeCheckpoint();
    }

    /// Removes the checkpoint of this run, or of an earlier one that is started again.
    void removeCheckpoint() {
        try {
            Files.deleteIfExists(checkpoint);
        } catch (IOException failure) {
            throw new VectuneException(checkpoint + ": cannot be removed: " + failure.getMessage(), failure);
        }
    }
}
