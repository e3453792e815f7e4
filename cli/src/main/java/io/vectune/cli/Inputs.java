package io.vectune.cli;

import io.vectune.models.load.FluxLoader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The files that a command reads: none of its results may take the place of one, not even with `--force`.
final class Inputs {
    private final List<Path> files = new ArrayList<>();

    private Inputs() {}

    /// @param paths files or directories, a pipeline's with its Flux transformer; null for an option that is not given
    static Inputs of(@Nullable Path... paths) {
        Inputs inputs = new Inputs();
        for (Path path : paths) {
            if (path != null && Files.exists(path)) {
                inputs.files.add(real(path));
                inputs.files.add(real(FluxLoader.directory(path)));
            }
        }
        return inputs;
    }

    /// Refuses a result that is one of the inputs, a file inside one, or a directory whose files include one.
    ///
    /// @param option that names the result
    /// @throws UsageException if so
    void keepApart(String option, @Nullable Path out) {
        if (out == null || !Files.exists(out)) {
            return;
        }
        Path result = real(out);
        for (Path input : files) {
            boolean inside = Files.isDirectory(input) && !Files.isDirectory(result) && result.startsWith(input);
            boolean around = Files.isDirectory(result) && !Files.isDirectory(input) && result.equals(input.getParent());
            if (result.equals(input) || inside || around) {
                throw new UsageException(
                        option
                                + " "
                                + out
                                + ": expected a place of its own, found the input "
                                + input
                                + " there; choose another, the command would replace what it reads");
            }
        }
    }

    private static Path real(Path path) {
        try {
            return path.toRealPath();
        } catch (IOException unresolvable) {
            return path.toAbsolutePath().normalize();
        }
    }
}
