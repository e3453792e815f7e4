package io.vectune.models.checkpoint;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.file.OutputDirectory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// A model as a directory with dense weights, for as long as a job needs it: the model itself, or what a GGUF file
/// decodes to, in f32 and therefore exact.
///
/// The latter is made hidden beside the job's result, a tensor at a time, takes 4 bytes a weight there, and is deleted
/// by [#close].
public final class DenseDirectory implements AutoCloseable {
    private final Path path;
    private final @Nullable OutputDirectory passing;

    private DenseDirectory(Path path, @Nullable OutputDirectory passing) {
        this.path = path;
        this.passing = passing;
    }

    /// Whether a path is one that [#of] decodes.
    public static boolean isGguf(Path model) {
        return Files.isRegularFile(model) && model.toString().toLowerCase(Locale.ROOT).endsWith(".gguf");
    }

    /// Opens a model.
    ///
    /// @param model a directory, which is taken as it is, or a GGUF file
    /// @param out the result of the job
    /// @throws io.vectune.runtime.VectuneException as [GgufExport#directory]
    @SuppressWarnings("MustBeClosedChecker") // closed by the result
    public static DenseDirectory of(Path model, Path out, Compute compute) {
        if (!isGguf(model)) {
            return new DenseDirectory(model, null);
        }
        OutputDirectory passing = OutputDirectory.create(out, true);
        try {
            Path dense = passing.path().resolve("dense");
            GgufExport.directory(model, dense, false, null, compute, name -> {});
            return new DenseDirectory(dense, passing);
        } catch (Throwable failure) {
            passing.close();
            throw failure;
        }
    }

    /// The directory.
    public Path path() {
        return path;
    }

    @Override
    public void close() {
        if (passing != null) {
            passing.close();
        }
    }
}
