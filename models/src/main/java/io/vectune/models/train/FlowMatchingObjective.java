package io.vectune.models.train;

import io.vectune.adapters.AdapterSet;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.models.flux.FlowMatching;
import io.vectune.models.flux.FluxModel;
import io.vectune.models.flux.FluxPass;
import io.vectune.models.flux.FluxRow;
import io.vectune.runtime.compute.Compute;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// The flow-matching loss of a Flux transformer, the mean over all elements of a step's latents.
public final class FlowMatchingObjective implements TrainingObjective {
    private final FluxModel model;
    private final List<FluxRow> rows;
    private final RowOrder order;
    private final FlowMatching task;
    private final int rowsPerStep;
    private final FluxPass pass;

    /// @param model widened where the rows have a control image
    /// @param adapters over the layers of that model
    /// @param task draws noise, a new one each time a row comes
    /// @param rowsPerStep rows of one step; they are evaluated one by one
    /// @param shuffle whether each epoch has an order of its own, drawn from the seed of the task
    public FlowMatchingObjective(
            FluxModel model,
            AdapterSet adapters,
            Compute compute,
            List<FluxRow> rows,
            FlowMatching task,
            int rowsPerStep,
            boolean shuffle) {
        if (rows.isEmpty() || rowsPerStep < 1) {
            throw new IllegalArgumentException(
                    "training data: expected rows and a batch size of at least 1, found "
                            + rows.size()
                            + " rows and "
                            + rowsPerStep);
        }
        this.model = model;
        this.rows = List.copyOf(rows);
        this.order = new RowOrder(rows.size(), shuffle, task.seed());
        this.task = task;
        this.rowsPerStep = rowsPerStep;
        this.pass = new FluxPass(model, adapters.adapters(), compute);
    }

    @Override
    public Loss lossAndGradients(int step, AdapterGradients gradients) {
        long first = (long) step * rowsPerStep;
        long elements = 0;
        int tokens = 0;
        for (int index = 0; index < rowsPerStep; index++) {
            FluxRow row = row(first + index);
            elements += (long) row.latents().rows() * row.latents().columns();
            tokens += row.latents().rows() + row.encoderHiddenStates().rows();
        }
        double loss = 0;
        for (int index = 0; index < rowsPerStep; index++) {
            long number = first + index;
            try (Arena arena = Arena.ofShared()) {
                FlowMatching.Draw draw = task.draw(row(number), number, arena);
                long dropoutSeed = task.seed() + number;
                loss += pass.lossAndGradients(draw.inputs(), draw.target(), 1.0 / elements, dropoutSeed, gradients);
            }
        }
        return new Loss(loss, tokens);
    }

    private FluxRow row(long number) {
        return rows.get(order.row(number));
    }

    @Override
    public Map<String, String> settings() {
        int hash = 1;
        for (FluxRow row : rows) {
            hash = 31 * hash + Arrays.hashCode(row.latents().toArray());
        }
        Map<String, String> settings = new LinkedHashMap<>(ModelIdentity.of(model));
        settings.put("data", String.format(Locale.ROOT, "%08x", hash));
        settings.put("order", order.description());
        settings.put("rows of a step", Integer.toString(rowsPerStep));
        settings.put("noise", task.sampling().name().toLowerCase(Locale.ROOT));
        settings.put("guidance", String.valueOf(task.guidance()));
        return settings;
    }

    @Override
    public void close() {
        // The pass works in the scratch of its Compute.
    }
}
