package io.vectune.models.train;

import io.vectune.adapters.AdapterSet;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.decoder.DecoderPass;
import io.vectune.models.decoder.SequenceBatch;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// The cross-entropy of the next token, the mean over all labelled tokens of a step.
final class NextTokenObjective implements TrainingObjective {
    private static final long STEP_STRIDE = 0x632BE59BD9B4E019L;

    private final DecoderModel model;
    private final BatchPlan batches;
    private final DecoderPass pass;
    private final long seed;

    NextTokenObjective(
            DecoderModel model, AdapterSet adapters, Compute compute, BatchPlan batches, TrainerOptions options) {
        this.model = model;
        this.batches = batches;
        this.pass =
                DecoderPass.forTraining(
                        model, adapters.adapters(), compute, batches.limits(), options.gradientCheckpointing());
        this.seed = options.seed();
    }

    @Override
    public Loss lossAndGradients(int step, AdapterGradients gradients) {
        List<SequenceBatch> batch = batches.step(step);
        int labelled = batch.stream().mapToInt(SequenceBatch::labelledTokens).sum();
        int tokens = batch.stream().mapToInt(SequenceBatch::tokens).sum();
        if (labelled == 0) {
            throw new VectuneException(
                    "step "
                            + (step + 1)
                            + ": none of its "
                            + batch.size() * batch.getFirst().rows()
                            + " rows has a labelled token; use larger batches, or rows with answers");
        }
        double sum = 0;
        for (int micro = 0; micro < batch.size(); micro++) {
            long dropoutSeed = seed + STEP_STRIDE * ((long) step * batch.size() + micro + 1);
            sum += pass.lossAndGradients(batch.get(micro), 1.0 / labelled, dropoutSeed, gradients);
        }
        return new Loss(sum / labelled, tokens);
    }

    @Override
    public Map<String, String> settings() {
        Map<String, String> settings = new LinkedHashMap<>(ModelIdentity.of(model));
        settings.putAll(batches.settings());
        return settings;
    }

    @Override
    public void close() {
        pass.close();
    }
}
