package io.vectune.models.train;

import io.vectune.adapters.AdapterConfig;
import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.Initialization;
import io.vectune.adapters.LayerSite;
import io.vectune.adapters.StartData;
import io.vectune.adapters.calibration.Eva;
import io.vectune.adapters.calibration.InputRecorder;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.CrossEntropy;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntConsumer;

/// New adapters whose start values come from data: the base model runs over calibration rows, and what its layers read
/// decides where the adapters start. Tokens without a label do not count, as in PEFT.
///
/// @param rows of the behavior that is to be learned; empty for none
/// @param opposites rows of the opposite behavior, for a start from the contrast; empty for none
/// @param originals by module: the weights before they were quantized, for LoftQ
/// @param eva how EVA shares out ranks
/// @param samples input rows that are kept of each layer, for AntiPaSTO
public record CalibratedStart(
        List<TokenRow> rows, List<TokenRow> opposites, Map<String, Weight> originals, Eva.Options eva, int samples) {
    /// Input rows that are kept of each layer where nothing else is asked for.
    public static final int SAMPLES = 512;

    public CalibratedStart {
        rows = List.copyOf(rows);
        opposites = List.copyOf(opposites);
        originals = Map.copyOf(originals);
        if (samples < 1) {
            throw new IllegalArgumentException("calibration samples: expected at least 1, found " + samples);
        }
    }

    /// Nothing but the model.
    public static final CalibratedStart NONE =
            new CalibratedStart(List.of(), List.of(), Map.of(), Eva.Options.DEFAULT, SAMPLES);

    /// Makes the adapters of a configuration.
    ///
    /// @param progress gets the number of calibration rows done so far
    /// @throws VectuneException if the kind needs data that is not there, or cannot use data that is
    public AdapterSet create(
            AdapterConfig config, DecoderModel model, Compute compute, long seed, IntConsumer progress) {
        List<LayerSite> sites = model.sites();
        StartData data = config.recipe().startData();
        if (!rows.isEmpty() && data != StartData.DIRECTIONS && data != StartData.INPUTS) {
            throw new VectuneException(
                    "calibration data: "
                            + config.recipe().kind()
                            + " starts without data; only init_lora_weights = eva and antipasto use it");
        }
        Initialization plain = new Initialization(compute, seed).withOriginals(originals);
        return switch (data) {
            case DIRECTIONS -> directions(config, model, compute, seed, progress);
            case INPUTS ->
                    rows.isEmpty() ? AdapterSet.create(config, sites, plain) : inputs(config, model, plain, progress);
            case NONE, ORIGINALS -> AdapterSet.create(config, sites, plain);
        };
    }

    private AdapterSet directions(
            AdapterConfig config, DecoderModel model, Compute compute, long seed, IntConsumer progress) {
        if (rows.isEmpty()) {
            throw new VectuneException(
                    "init_lora_weights = eva: expected calibration data, found none; EVA starts from the inputs of the"
                            + " layers, name a data file to read them from");
        }
        List<LayerSite> targets = targets(config, model);
        try (InputRecorder recorder = new InputRecorder(targets, true, 0, seed)) {
            observe(model, recorder, rows, compute, progress);
            return Eva.create(config, model.sites(), recorder, eva, compute, seed);
        }
    }

    private AdapterSet inputs(AdapterConfig config, DecoderModel model, Initialization plain, IntConsumer progress) {
        List<LayerSite> targets = targets(config, model);
        Compute compute = plain.compute();
        try (InputRecorder wanted = new InputRecorder(targets, false, samples, plain.seed());
                InputRecorder unwanted = new InputRecorder(targets, false, samples, plain.seed())) {
            observe(model, wanted, rows, compute, progress);
            observe(model, unwanted, opposites, compute, done -> progress.accept(rows.size() + done));
            Map<String, Matrix> contrast = new LinkedHashMap<>(unwanted.samples());
            return AdapterSet.create(config, model.sites(), plain.withInputs(wanted.samples(), contrast));
        }
    }

    private static List<LayerSite> targets(AdapterConfig config, DecoderModel model) {
        List<LayerSite> targets = config.select(model.sites(), true);
        for (LayerSite site : targets) {
            if (site.outputHead()) {
                throw new VectuneException(
                        site.name()
                                + ": its inputs are not watched in calibration; leave it out of the target modules");
            }
        }
        return targets;
    }

    private static void observe(
            DecoderModel model, InputRecorder recorder, List<TokenRow> data, Compute compute, IntConsumer progress) {
        if (data.isEmpty()) {
            return;
        }
        RowBatches batches = RowBatches.of(data);
        int done = 0;
        try (DecoderPass pass =
                DecoderPass.forEvaluation(model, recorder.adapters().adapters(), compute, batches.limits())) {
            for (List<TokenRow> group : batches.groups()) {
                recorder.count(labelled(group));
                pass.observe(RowBatches.batch(group));
                done += group.size();
                progress.accept(done);
            }
        }
    }

    private static boolean[] labelled(List<TokenRow> group) {
        boolean[] counts = new boolean[group.stream().mapToInt(row -> row.ids().length).sum()];
        int at = 0;
        for (TokenRow row : group) {
            for (int label : row.labels()) {
                counts[at++] = label != CrossEntropy.IGNORED;
            }
        }
        return counts;
    }
}
