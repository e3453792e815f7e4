package io.vectune.cli;

import io.vectune.adapters.AdapterSet;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.train.TrainingPlan;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;

/// The plan of a run, printed before work starts.
final class TuningPlanView {
    private TuningPlanView() {}

    static void print(Output output, Path path, DecoderModel model, AdapterSet set, TrainingPlan plan) {
        Map<String, long[]> byParameter = new TreeMap<>();
        for (AdapterSet.Entry entry : set.parameters()) {
            if (entry.parameter().trainable()) {
                long[] counts = byParameter.computeIfAbsent(entry.parameter().name(), name -> new long[2]);
                counts[0]++;
                counts[1] += (long) entry.parameter().values().rows() * entry.parameter().values().columns();
            }
        }
        output.note(
                "model      %s: %,d parameters, %s",
                path, model.parameters(), model.layers().getFirst().linears().getFirst().weight().description());
        output.note(
                "adapter    %s on %d layers: %,d parameters trained (%.3f %% of the model)",
                set.config().recipe().kind(),
                plan.modules(),
                plan.trainableParameters(),
                100.0 * plan.trainableParameters() / model.parameters());
        byParameter.forEach((name, counts) ->
                output.note("             %-14s %6d tensors %,14d values", name, counts[0], counts[1]));
        output.note(
                "work       %d steps of about %.0f tokens, %,.0f tokens in all",
                plan.steps(), plan.tokensPerStep(), plan.steps() * plan.tokensPerStep());
        output.note(
                "memory     %s: model %s (mapped), activations %s, adapter and optimizer %s",
                Progress.bytes(plan.totalBytes()),
                Progress.bytes(plan.modelBytes()),
                Progress.bytes(plan.activationBytes()),
                Progress.bytes(plan.optimizerBytes()));
    }
}
