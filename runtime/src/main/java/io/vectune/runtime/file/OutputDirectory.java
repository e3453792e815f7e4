package io.vectune.runtime.file;

import io.vectune.runtime.VectuneException;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/// A directory of results that appears at its target complete or not at all.
///
/// Files are made under [#path], a hidden directory beside the target; [#commit] moves it into place. A target that
/// already holds something is refused, before any work, unless the caller forces it. Forced, every file of the result
/// replaces the one of its name, weight files of an earlier result that would contradict the new one
/// (`model-00001-of-00002.safetensors` beside a new `model.safetensors`) are removed, and anything else stays.
///
///     try (OutputDirectory out = OutputDirectory.create(target, force)) {
///         ... write files into out.path() ...
///         out.commit();
///     }
public final class OutputDirectory implements AutoCloseable {
    /// Weights of a model, and those of an adapter: new ones replace the old ones of their sort alone.
    private static final List<Pattern> WEIGHT_FILES =
            Stream.of("(model|diffusion_pytorch_model)", "adapter_model")
                    .map(stem -> Pattern.compile(stem + "(-\\d+-of-\\d+)?\\.safetensors(\\.index\\.json)?"))
                    .toList();

    private final Path target;
    private final Path temporary;
    private boolean committed;

    private OutputDirectory(Path target, Path temporary) {
        this.target = target;
        this.temporary = temporary;
    }

    /// Checks that a result can go to `target`, so that a command can refuse before hours of work.
    ///
    /// @throws VectuneException if the target is a file, holds something and `force` is not given, or its place cannot
    ///   be written
    public static void check(Path target, boolean force) {
        if (!Files.exists(target)) {
            WriteProbe.check(target);
            return;
        }
        if (!Files.isDirectory(target)) {
            throw new VectuneException(target + ": expected a directory for the result, found a file");
        }
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(target)) {
            if (!force && entries.iterator().hasNext()) {
                throw new VectuneException(
                        target
                                + ": the output directory is not empty; choose another or use --force to replace its"
                                + " files");
            }
        } catch (IOException e) {
            throw FileFailure.reading(target, e);
        }
        WriteProbe.check(target);
    }

    /// Starts a result.
    ///
    /// @param force whether a target that already holds something is accepted
    /// @throws VectuneException if the target is refused or its place cannot be written
    public static OutputDirectory create(Path target, boolean force) {
        check(target, force);
        try {
            Path temporary = TemporaryNames.beside(target);
            Files.createDirectory(temporary);
            return new OutputDirectory(target, temporary);
        } catch (IOException e) {
            throw FileFailure.writing(target, e);
        }
    }

    /// The directory to write into until the commit.
    public Path path() {
        return temporary;
    }

    /// Where the directory will be.
    public Path target() {
        return target;
    }

    /// Moves the result into place.
    ///
    /// @throws VectuneException if that fails
    public void commit() {
        try {
            if (!Files.exists(target)) {
                AtomicFile.move(temporary, target);
            } else {
                replaceFiles();
            }
            committed = true;
        } catch (IOException e) {
            throw FileFailure.writing(target, e);
        }
    }

    private void replaceFiles() throws IOException {
        List<Path> files = new ArrayList<>();
        Files.walkFileTree(
                temporary,
                new SimpleFileVisitor<>() {
                    @Override
                    public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
                        files.add(temporary.relativize(file));
                        return FileVisitResult.CONTINUE;
                    }
                });
        Set<String> written = new HashSet<>();
        for (Path file : files) {
            Path to = target.resolve(file.toString());
            Path parent = to.getParent();
            if (parent != null) {
                Files.createDirectories(parent);
            }
            AtomicFile.move(temporary.resolve(file), to);
            written.add(file.toString());
        }
        for (Pattern weights : WEIGHT_FILES) {
            if (written.stream().anyMatch(name -> weights.matcher(name).matches())) {
                deleteStale(weights, written);
            }
        }
        deleteTree(temporary);
    }

    private void deleteStale(Pattern weights, Set<String> written) throws IOException {
        List<Path> stale = new ArrayList<>();
        try (DirectoryStream<Path> entries = Files.newDirectoryStream(target)) {
            for (Path entry : entries) {
                String name = target.relativize(entry).toString();
                if (weights.matcher(name).matches() && !written.contains(name)) {
                    stale.add(entry);
                }
            }
        }
        for (Path entry : stale) {
            Files.delete(entry);
        }
    }

    /// Gives up an uncommitted result; after a commit does nothing.
    @Override
    public void close() {
        if (!committed && Files.exists(temporary)) {
            try {
                deleteTree(temporary);
            } catch (IOException e) {
                throw FileFailure.writing(target, e);
            }
        }
    }

    private static void deleteTree(Path root) throws IOException {
        Files.walkFileTree(
                root,
                new SimpleFileVisitor<>() {
                    @Override
                    public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                        Files.delete(file);
                        return FileVisitResult.CONTINUE;
                    }

                    @Override
                    public FileVisitResult postVisitDirectory(Path directory, @Nullable IOException failure)
                            throws IOException {
                        if (failure != null) {
                            throw failure;
                        }
                        Files.delete(directory);
                        return FileVisitResult.CONTINUE;
                    }
                });
    }
}
