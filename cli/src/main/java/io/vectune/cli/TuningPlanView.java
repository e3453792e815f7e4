package io.vectune.cli;

import io.vectune.adapters.AdapterSet;
import io.vectune.adapters.training.TrainableTable;
import io.vectune.models.decoder.DecoderModel;
import io.vectune.models.train.TrainingPlan;
import java.nio.file.Path;

/// The plan of a run, printed before work starts.
final class TuningPlanView {
    private TuningPlanView() {}

    static void print(Output output, Path path, DecoderModel model, AdapterSet set, TrainingPlan plan) {
        output.note(
                "model      %s: %,d parameters, %s",
                path, model.parameters(), model.layers().getFirst().linears().getFirst().weight().description());
        output.note(
                "adapter    %s on %d layers: %,d parameters trained (%.3f %% of the model)",
                set.config().recipe().kind(),
                plan.modules(),
                plan.trainableParameters(),
                100.0 * plan.trainableParameters() / model.parameters());
        output.note("             %-14s %-12s %7s %-16s %14s", "layer", "parameter", "tensors", "shape", "values");
        for (TrainableTable.Line line : TrainableTable.of(set)) {
            output.note(
                    "             %-14s %-12s %7d %-16s %,14d",
                    line.module(), line.parameter(), line.tensors(), line.shape(), line.elements());
        }
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
