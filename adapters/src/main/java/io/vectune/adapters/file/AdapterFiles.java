package io.vectune.adapters.file;

import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.LayerSite;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/// Adapters in any of the formats that users have.
public final class AdapterFiles {
    /// The formats.
    public enum Format {
        /// A PEFT directory: all kinds.
        PEFT,
        /// A lora-lite file: the kinds that lora-lite has.
        LORA_LITE,
        /// One file with diffusers' keys: LoRA and DoRA.
        DIFFUSERS,
        /// One file with kohya's keys: LoRA and DoRA.
        KOHYA
    }

    private AdapterFiles() {}

    /// Reads an adapter; the format is recognized by what lies at the path.
    ///
    /// @param sites the host's linear layers
    /// @throws VectuneException if there is no adapter, or it does not fit the host
    public static AdapterSet read(Path path, List<LayerSite> sites, Compute compute) {
        if (Files.isDirectory(path)) {
            return PeftDirectory.read(path, sites, compute);
        }
        requireFile(path);
        return LoraLiteFile.isOne(path) ? LoraLiteFile.read(path, sites, compute) : LoraFile.read(path, sites, compute);
    }

    /// Writes an adapter under the keys of another format, without its model: no value changes.
    ///
    /// @param force whether a target that already exists is replaced
    /// @throws VectuneException if the adapter is malformed, the format cannot hold it, or only the model can tell what
    ///   its keys mean
    public static void rename(Path in, Path out, Format format, boolean force) {
        requireFree(out, format, force);
        try (Arena arena = Arena.ofShared()) {
            StoredAdapter read = stored(in, format, arena);
            StoredAdapter adapter = read.checked(LoraLiteFile.keysOf(read.kind()), arena);
            switch (format) {
                case PEFT -> PeftDirectory.write(adapter, out, force);
                case LORA_LITE -> LoraLiteFile.write(adapter, out);
                case DIFFUSERS -> LoraFile.write(adapter, out, LoraFile.Style.DIFFUSERS);
                case KOHYA -> LoraFile.write(adapter, out, LoraFile.Style.KOHYA);
            }
        }
    }

    private static StoredAdapter stored(Path in, Format format, Arena arena) {
        if (Files.isDirectory(in)) {
            if (format == Format.PEFT) {
                throw new VectuneException(in + ": expected another format to convert from, found a PEFT directory");
            }
            return PeftDirectory.stored(in, arena);
        }
        requireFile(in);
        return LoraLiteFile.isOne(in) ? LoraLiteFile.stored(in, arena) : LoraFile.stored(in, LayerNames.alone(), arena);
    }

    private static void requireFile(Path path) {
        if (!Files.isRegularFile(path)) {
            throw new VectuneException(
                    path + ": expected an adapter, a PEFT directory or a .safetensors file; there is nothing");
        }
    }

    private static void requireFree(Path path, Format format, boolean force) {
        if (format != Format.PEFT && Files.exists(path) && !force) {
            throw new VectuneException(path + ": exists; remove it or force the overwrite");
        }
    }

    /// Writes an adapter.
    ///
    /// @param force whether a target that already exists is replaced
    public static void write(AdapterSet set, Path path, Format format, boolean force) {
        requireFree(path, format, force);
        switch (format) {
            case PEFT -> PeftDirectory.write(set, path, force);
            case LORA_LITE -> LoraLiteFile.write(set, path);
            case DIFFUSERS -> LoraFile.write(set, path, LoraFile.Style.DIFFUSERS);
            case KOHYA -> LoraFile.write(set, path, LoraFile.Style.KOHYA);
        }
    }
}
