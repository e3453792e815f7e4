package io.vectune.adapters.training;

import io.vectune.adapters.AdapterParameter.Role;
import io.vectune.adapters.AdapterSet;
import java.util.ArrayList;
import java.util.List;

/// Learning-rate and weight-decay factors of an adapter's parameters.
///
/// - LoRA+ (Hayou et al. 2024, arXiv 2402.12354): output factors (B) learn `loraPlusRatio` times as fast as the rest;
/// - decay by role: with `decayByRole`, magnitudes, gates, lambdas, angles and biases do not decay, since their neutral
///   value is not 0; without it everything decays alike, as torch does.
///
/// @param loraPlusRatio 1 for none; LoRA+ recommends 16
/// @param decayByRole whether only factors and full weights decay
public record ParameterGroups(double loraPlusRatio, boolean decayByRole) {
    /// One group: torch's behavior.
    public static final ParameterGroups NONE = new ParameterGroups(1, false);

    public ParameterGroups {
        if (!(loraPlusRatio > 0) || !Double.isFinite(loraPlusRatio)) {
            throw new IllegalArgumentException("LoRA+ ratio: expected a positive number, found " + loraPlusRatio);
        }
    }

    /// The factor on the learning rate.
    public double learningRateFactor(Role role) {
        return role == Role.OUTPUT_FACTOR ? loraPlusRatio : 1;
    }

    /// The factor on the weight decay, 0 or 1.
    public double weightDecayFactor(Role role) {
        return decayByRole && !role.decays() ? 0 : 1;
    }

    /// One line of the table of trainable parameters.
    ///
    /// @param name module kind and parameter: `q_proj.loraA`
    /// @param tensors how many tensors
    /// @param elements how many values in all
    public record Line(String name, int tensors, long elements) {}

    /// The trainable parameters of a set, summed by the last part of the module's name, for people to read before a
    /// run.
    public static List<Line> table(AdapterSet set) {
        List<Line> lines = new ArrayList<>();
        for (AdapterSet.Entry entry : set.parameters()) {
            if (entry.parameter().trainable()) {
                String module = entry.module();
                String name = module.substring(module.lastIndexOf('.') + 1) + "." + entry.parameter().name();
                long elements = (long) entry.parameter().values().rows() * entry.parameter().values().columns();
                int at = -1;
                for (int index = 0; index < lines.size(); index++) {
                    at = lines.get(index).name.equals(name) ? index : at;
                }
                if (at < 0) {
                    lines.add(new Line(name, 1, elements));
                } else {
                    Line old = lines.get(at);
                    lines.set(at, new Line(name, old.tensors + 1, old.elements + elements));
                }
            }
        }
        return lines;
    }
}
