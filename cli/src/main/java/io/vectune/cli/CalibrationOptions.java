package io.vectune.cli;

import io.vectune.adapters.calibration.Eva;
import io.vectune.models.decoder.Linear;
import io.vectune.models.load.ModelText;
import io.vectune.models.train.CalibratedStart;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.weight.Weight;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/// The options of adapters that start from data.
final class CalibrationOptions {
    @Option(
            names = "--calibration",
            paramLabel = "FILE",
            description =
                    "Data whose activations choose the start of eva and antipasto; rows as in --data. Tokens without"
                            + " a label do not count.")
    private @Nullable Path calibration;

    @Option(
            names = "--calibration-opposite",
            paramLabel = "FILE",
            description = "Rows of the opposite behavior: antipasto then starts from the contrast.")
    private @Nullable Path opposite;

    @Option(
            names = "--calibration-samples",
            paramLabel = "N",
            defaultValue = "512",
            description = "Input rows of a layer that rank its singular directions (default: ${DEFAULT-VALUE}).")
    private int samples;

    @Option(
            names = "--eva-rho",
            paramLabel = "X",
            defaultValue = "2",
            description = "How many times its rank a layer may get from others; 1 = none (default: ${DEFAULT-VALUE}).")
    private double rho;

    @Option(names = "--eva-uncentered", description = "Directions of the inputs themselves, their mean not taken out.")
    private boolean uncentered;

    /// Reads the data.
    CalibratedStart start(Host host, ModelText text, DataOptionsMixin data, Output output) {
        Path wanted = calibration;
        Path unwanted = opposite;
        if (wanted == null && unwanted != null) {
            throw new UsageException("--calibration-opposite: expected --calibration beside it");
        }
        List<TokenRow> rows = wanted == null ? List.of() : data.load(wanted, text, host.model(), output).rows();
        List<TokenRow> opposites =
                unwanted == null ? List.of() : data.load(unwanted, text, host.model(), output).rows();
        Map<String, Weight> originals = new LinkedHashMap<>();
        if (host.quantizesOnLoad()) {
            for (Linear linear : host.loaded().decoder().linears()) {
                originals.put(linear.name(), linear.weight());
            }
        }
        try {
            return new CalibratedStart(rows, opposites, originals, new Eva.Options(rho, !uncentered), samples);
        } catch (IllegalArgumentException wrong) {
            throw new UsageException(String.valueOf(wrong.getMessage()));
        }
    }

    /// The files, null for those that are not given.
    @Nullable Path[] files() {
        return new Path[] {calibration, opposite};
    }

    /// Refuses data.
    void requireNone(String because) {
        if (calibration != null || opposite != null) {
            throw new UsageException(
                    "--calibration is for new adapters; with " + because + " the start is there already");
        }
    }
}
