package io.vectune.cli;

import io.vectune.models.data.DataOptions;
import io.vectune.models.data.DataSet;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.load.ModelText;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/// The options of every command that reads a data file.
final class DataOptionsMixin {
    @Option(
            names = "--data",
            required = true,
            paramLabel = "FILE",
            description =
                    ".txt, or .jsonl with rows of text; prompt and completion; messages; or input_ids and labels.")
    @SuppressWarnings("NullAway.Init")
    private Path data;

    @Option(
            names = "--max-length",
            paramLabel = "N",
            defaultValue = "512",
            description = "Most tokens of a row (default: ${DEFAULT-VALUE}).")
    private int maxLength;

    @Option(names = "--append-eos", description = "End every text and completion with the end-of-text token.")
    private boolean appendEos;

    /// The data file.
    Path path() {
        return data;
    }

    /// Reads the rows; says what was cut.
    DataSet load(ModelText text, DecoderModel model, Output output) {
        return load(data, text, model, output);
    }

    /// Reads the rows of another file in the same way.
    DataSet load(Path file, ModelText text, DecoderModel model, Output output) {
        return load(file, maxLength, appendEos, text, model, output);
    }

    /// Reads the rows of a file; says what was cut or has no loss, and what is longer than the model's positions.
    static DataSet load(
            Path file, int maxLength, boolean appendEos, ModelText text, DecoderModel model, Output output) {
        if (maxLength < 2) {
            throw new UsageException("--max-length: expected at least 2 tokens, found " + maxLength);
        }
        DataSet rows = DataSet.load(file, text, new DataOptions(maxLength, appendEos, model.config().vocabSize()));
        if (rows.truncatedRows() > 0) {
            output.note(
                    "%s: %d of %d rows were longer than %d tokens and lost their end (--max-length)",
                    file, rows.truncatedRows(), rows.rows().size(), maxLength);
        }
        if (rows.unlabelledRows() > 0) {
            output.note(
                    "%s: %d rows have no labelled token among their first %d (--max-length) and add nothing to the loss",
                    file, rows.unlabelledRows(), maxLength);
        }
        int positions = model.config().maxPositionEmbeddings();
        long beyond = rows.rows().stream().filter(row -> row.ids().length > positions).count();
        if (beyond > 0) {
            output.note(
                    "warning: %s: %d of %d rows are longer than the %d positions that the model was made for; expect a"
                            + " worse loss there, or lower --max-length",
                    file, beyond, rows.rows().size(), positions);
        }
        if (rows.unevenBoundaries() > 0) {
            output.note(
                    "%s: in %d of %d rows a token spans prompt and completion; begin completions with a space",
                    file, rows.unevenBoundaries(), rows.rows().size());
        }
        return rows;
    }
}
