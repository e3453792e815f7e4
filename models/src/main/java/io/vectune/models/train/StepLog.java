package io.vectune.models.train;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.file.AtomicFile;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Writes one JSON object a step: `step`, `loss`, `lr`, `grad_norm`, `tokens`, `seconds`, `tokens_per_second`.
public final class StepLog implements TrainingListener, AutoCloseable {
    private final Path file;
    private final Writer writer;

    private StepLog(Path file, Writer writer) {
        this.file = file;
        this.writer = writer;
    }

    /// Starts or continues a log.
    ///
    /// @param stepsDone steps of an interrupted run that stay in the log; later ones, which the resumed run does again,
    ///   are dropped; 0 starts a new log
    /// @throws VectuneException if the file cannot be written
    public static StepLog open(Path file, int stepsDone) {
        try {
            if (Files.exists(file) && !Files.isRegularFile(file)) {
                // A pipe or a terminal: what it has shown cannot be taken back.
                return new StepLog(
                        file, Files.newBufferedWriter(file, StandardCharsets.UTF_8, StandardOpenOption.WRITE));
            }
            StringBuilder kept = new StringBuilder();
            if (stepsDone > 0 && Files.exists(file)) {
                List<String> lines = Files.readAllLines(file, StandardCharsets.UTF_8);
                for (int line = 0; line < Math.min(stepsDone, lines.size()); line++) {
                    kept.append(lines.get(line)).append('\n');
                }
            }
            AtomicFile.write(file, kept.toString());
            return new StepLog(file, Files.newBufferedWriter(file, StandardCharsets.UTF_8, StandardOpenOption.APPEND));
        } catch (IOException unwritable) {
            throw new VectuneException(file + ": the log cannot be written: " + unwritable, unwritable);
        }
    }

    @Override
    public void stepped(StepRecord step) {
        ObjectNode line = JsonNodeFactory.instance.objectNode();
        line.put("step", step.step());
        line.put("loss", step.loss());
        line.put("lr", step.learningRate());
        line.put("grad_norm", step.gradientNorm());
        line.put("tokens", step.tokens());
        line.put("seconds", step.seconds());
        line.put("tokens_per_second", step.tokensPerSecond());
        try {
            writer.write(line + "\n");
            writer.flush();
        } catch (IOException unwritable) {
            throw new VectuneException(file + ": the log cannot be written: " + unwritable, unwritable);
        }
    }

    @Override
    public void close() {
        try {
            writer.close();
        } catch (IOException unwritable) {
            throw new VectuneException(file + ": the log cannot be written: " + unwritable, unwritable);
        }
    }
}
