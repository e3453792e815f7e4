package io.vectune.models.train;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterParameter;
import io.vectune.adapters.AdapterSet;
import io.vectune.models.decoder.AdapterGradients;
import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.AdamW;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.nn.Sgd;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The optimizer of a run: moments of every trainable parameter, clipping, one update a step.
final class ParameterUpdates implements AutoCloseable {
    private static final double CLIP_EPS = 1e-6;

    /// One trainable parameter.
    ///
    /// @param firstMoment AdamW's first moment or SGD's momentum; null where the optimizer has none
    private record Slot(
            String name,
            AdapterParameter parameter,
            Matrix gradient,
            @Nullable Matrix firstMoment,
            @Nullable Matrix secondMoment) {}

    private final Arena arena = Arena.ofShared();
    private final TrainerOptions options;
    private final List<Slot> slots = new ArrayList<>();
    private final List<Matrix> gradients = new ArrayList<>();
    private final List<Matrix> values = new ArrayList<>();

    ParameterUpdates(AdapterSet set, AdapterGradients gradientsOfAll, TrainerOptions options) {
        this.options = options;
        for (Map.Entry<String, Adapter> entry : set.adapters().entrySet()) {
            List<AdapterParameter> parameters = entry.getValue().trainableParameters();
            List<Matrix> matrices = gradientsOfAll.of(entry.getKey());
            for (int index = 0; index < parameters.size(); index++) {
                AdapterParameter parameter = parameters.get(index);
                boolean first = hasFirstMoment(options.optimizer());
                boolean second = options.optimizer() instanceof OptimizerChoice.AdamW;
                slots.add(
                        new Slot(
                                entry.getKey() + "." + parameter.name(),
                                parameter,
                                matrices.get(index),
                                first ? like(parameter.values()) : null,
                                second ? like(parameter.values()) : null));
                gradients.add(matrices.get(index));
                values.add(parameter.values());
            }
        }
    }

    static boolean hasFirstMoment(OptimizerChoice optimizer) {
        return !(optimizer instanceof OptimizerChoice.Sgd sgd) || sgd.momentum() != 0;
    }

    private Matrix like(Matrix values) {
        return Matrix.allocate(arena, values.rows(), values.columns());
    }

    /// Clips and updates all parameters.
    ///
    /// @param step 0 for the first one
    /// @return the norm of the gradients before clipping
    /// @throws VectuneException if a gradient is not finite; nothing is updated then
    double update(Compute compute, long step) {
        double norm = Elementwise.norm(gradients);
        if (!Double.isFinite(norm)) {
            throw new VectuneException(
                    "step "
                            + (step + 1)
                            + ": the norm of the gradients is "
                            + norm
                            + "; lower the learning rate, or check model and adapter with eval");
        }
        if (options.clip() > 0) {
            double factor = options.clip() / (norm + CLIP_EPS);
            if (factor < 1) {
                for (Matrix gradient : gradients) {
                    Elementwise.scale(compute, (float) factor, gradient);
                }
            }
        }
        double rate = options.learningRate() * options.schedule().factor(step);
        for (Slot slot : slots) {
            update(compute, step, rate, slot);
        }
        return norm;
    }

    /// Whether all parameters are finite.
    boolean isFinite() {
        return Double.isFinite(Elementwise.norm(values));
    }

    private void update(Compute compute, long step, double rate, Slot slot) {
        AdapterParameter parameter = slot.parameter;
        double own = isFast(parameter) ? rate * options.outputFactorRatio() : rate;
        boolean decays = decays(parameter);
        switch (options.optimizer()) {
            case OptimizerChoice.AdamW adamW -> {
                Matrix first = slot.firstMoment;
                Matrix second = slot.secondMoment;
                if (first == null || second == null) {
                    throw new IllegalStateException(slot.name + " has no moments");
                }
                new AdamW(adamW.beta1(), adamW.beta2(), adamW.eps(), decays ? adamW.weightDecay() : 0)
                        .step(compute, step + 1, own, parameter.values(), slot.gradient, first, second);
            }
            case OptimizerChoice.Sgd sgd ->
                    new Sgd(sgd.momentum(), decays ? sgd.weightDecay() : 0)
                            .step(compute, step + 1, own, parameter.values(), slot.gradient, slot.firstMoment);
        }
    }

    /// Biases have no decay in PEFT's groups for LoRA+.
    private boolean decays(AdapterParameter parameter) {
        if (options.outputFactorRatio() != 1 && parameter.role() == AdapterParameter.Role.BIAS) {
            return false;
        }
        return options.decayScales() || parameter.role().decays();
    }

    /// Whether LoRA+ gives a parameter the higher rate, by the rule of PEFT's create_loraplus_optimizer: `lora_B` of
    /// any kind (`delora_B`, `gralora_B_general`), and vectors: biases, magnitudes.
    private static boolean isFast(AdapterParameter parameter) {
        AdapterParameter.Stored stored = parameter.stored();
        return stored != null && (stored.key().contains("lora_B") || stored.shape().length == 1);
    }

    /// All moments by name: the optimizer's state.
    Map<String, Matrix> state() {
        Map<String, Matrix> state = new LinkedHashMap<>();
        for (Slot slot : slots) {
            if (slot.firstMoment != null) {
                state.put(slot.name + ".first_moment", slot.firstMoment);
            }
            if (slot.secondMoment != null) {
                state.put(slot.name + ".second_moment", slot.secondMoment);
            }
        }
        return state;
    }

    @Override
    public void close() {
        arena.close();
    }
}
