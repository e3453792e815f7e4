package io.vectune.cli;

import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.file.AdapterFiles;
import io.vectune.adapters.file.AdapterFiles.Format;
import io.vectune.adapters.file.LoraLiteFile;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.OutputDirectory;
import io.vectune.runtime.safetensors.SafetensorsFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/// Where a tuning run puts its files: a directory with the adapter in PEFT's format; or, going on with an adapter that
/// is a single file, such a file again, with report and checkpoint beside it.
///
/// @param adapter directory or file
record TuneTarget(Path adapter, Format format, Path report, Path checkpoint) {
    /// The target of a run.
    ///
    /// @param out what `--out` names
    /// @param initFrom the adapter that is continued, or null for a new one
    static TuneTarget of(Path out, @Nullable Path initFrom) {
        if (initFrom == null || !Files.isRegularFile(initFrom)) {
            return new TuneTarget(
                    out, Format.PEFT, out.resolve(TuningReport.FILE), out.resolve("checkpoint.safetensors"));
        }
        if (!Output.isSafetensors(out)) {
            throw new UsageException(
                    "--out "
                            + out
                            + ": expected a name that ends in .safetensors, as "
                            + initFrom
                            + " is a single file and the result has its format");
        }
        return new TuneTarget(
                out,
                formatOf(initFrom),
                out.resolveSibling(out.getFileName() + "." + TuningReport.FILE),
                out.resolveSibling(out.getFileName() + ".checkpoint"));
    }

    private static Format formatOf(Path file) {
        if (LoraLiteFile.isOne(file)) {
            return Format.LORA_LITE;
        }
        try (Arena arena = Arena.ofConfined()) {
            boolean kohya =
                    SafetensorsFile.open(file, arena).names().stream().anyMatch(name -> name.contains("lora_down"));
            return kohya ? Format.KOHYA : Format.DIFFUSERS;
        }
    }

    /// Refuses what would be overwritten, before any work.
    void check(boolean resume, boolean force) {
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
        if (format == Format.PEFT) {
            OutputDirectory.check(adapter, force);
        } else {
            Output.checkFile(adapter, force);
        }
    }

    /// Writes the adapter and its report and removes the checkpoint.
    void write(AdapterSet set, TuningReport result) {
        AdapterFiles.write(set, adapter, format, true);
        result.write(report);
        try {
            Files.deleteIfExists(checkpoint);
        } catch (IOException failure) {
            throw new VectuneException(checkpoint + ": cannot be removed: " + failure.getMessage(), failure);
        }
    }
}
