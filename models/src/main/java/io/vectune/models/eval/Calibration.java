package io.vectune.models.eval;

import io.vectune.adapters.Adapter;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.Linear;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.models.train.RowBatches;
import io.vectune.models.train.TokenRow;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntConsumer;

/// Runs a model over calibration data and measures what each of its linear layers sees.
public final class Calibration {
    private Calibration() {}

    /// The moments of every linear layer, by name.
    ///
    /// @param gradients whether the loss's gradients at the outputs are wanted too: one backward pass more
    /// @param progress gets the number of rows done so far
    /// @throws VectuneException if gradients are wanted and no token is labelled
    public static Map<String, LayerMoments> of(
            DecoderModel model, Compute compute, List<TokenRow> rows, boolean gradients, IntConsumer progress) {
        if (gradients && rows.stream().noneMatch(TokenRow::isLabelled)) {
            throw new VectuneException(
                    "calibration: expected at least one labelled token, found none in " + rows.size() + " rows");
        }
        Map<String, MomentProbe> probes = new LinkedHashMap<>();
        for (Linear linear : model.linears()) {
            probes.put(linear.name(), new MomentProbe(linear.weight()));
        }
        Map<String, Adapter> adapters = Map.copyOf(probes);
        RowBatches batches = RowBatches.of(rows);
        int done = 0;
        try (DecoderPass pass =
                        gradients
                                ? DecoderPass.forTraining(model, adapters, compute, batches.limits(), false)
                                : DecoderPass.forEvaluation(model, adapters, compute, batches.limits());
                AdapterGradients none = new AdapterGradients(adapters)) {
            for (List<TokenRow> group : batches.groups()) {
                SequenceBatch batch = RowBatches.batch(group);
                if (gradients) {
                    pass.lossAndGradients(batch, 1, 0, none);
                } else {
                    pass.loss(batch);
                }
                done += group.size();
                progress.accept(done);
            }
        }
        Map<String, LayerMoments> moments = new LinkedHashMap<>();
        probes.forEach((name, probe) -> moments.put(name, probe.moments(gradients)));
        return moments;
    }
}
