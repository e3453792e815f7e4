package io.vectune.adapters;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/// A norm whose rows are scaled differently: by the scale of the row's adapter, or by the base's.
///
/// A host that fuses norm and scale takes [#scaleOf] each run of rows and calls its norm run by run; [#forward] and
/// [#backward] are for normalized rows, as those of [NormScale].
public final class MixedNorm extends AdapterMix {
    /// @param members by the index that row groups name; empty where a set has no adapter for this norm
    /// @throws IllegalArgumentException if one of them is no [NormScale]
    public MixedNorm(LayerSite site, List<Optional<Adapter>> members) {
        super(site, members);
        for (Optional<Adapter> member : members) {
            if (member.isPresent() && !(member.get() instanceof NormScale)) {
                throw new IllegalArgumentException(
                        module()
                                + ": expected adapters of a norm in the mixed batch, found "
                                + member.get().kind()
                                + "; give the set to the batch by itself");
            }
        }
    }

    /// The scale of a run of rows (1, features), live; null for that of the base.
    public @Nullable Matrix scaleOf(RowGroups.Run run) {
        return memberOf(run) instanceof NormScale norm ? norm.scale() : null;
    }

    @Override
    public void forward(AdapterCall call, Matrix y) {
        for (RowGroups.Run run : runs(call.options().groups(), call.x().rows())) {
            AdapterCall own = call.rows(run.from(), run.to(), 0, 0);
            Matrix rows = y.rows(run.from(), run.to());
            Adapter member = memberOf(run);
            if (member == null) {
                scaled(call.weight(), own.x(), rows);
            } else {
                member.forward(own, rows);
            }
        }
    }

    @Override
    public void backward(AdapterCall call, Matrix gradOutput, @Nullable Matrix gradInput, List<Matrix> gradients) {
        for (RowGroups.Run run : runs(call.options().groups(), call.x().rows())) {
            Matrix rows = gradOutput.rows(run.from(), run.to());
            Matrix below = gradInput == null ? null : gradInput.rows(run.from(), run.to());
            Adapter member = memberOf(run);
            if (member != null) {
                AdapterCall own = call.rows(run.from(), run.to(), 0, 0);
                member.backward(own, rows, below, gradientsOf(gradients, run.adapter()));
            } else if (below != null) {
                scaled(call.weight(), rows, below);
            }
        }
    }

    private static void scaled(Weight scale, Matrix from, Matrix to) {
        float[] row = new float[scale.inFeatures()];
        scale.decode(0, 1, 0, row.length, row, 0, row.length);
        for (int t = 0; t < from.rows(); t++) {
            for (int i = 0; i < row.length; i++) {
                to.set(t, i, from.get(t, i) * row[i]);
            }
        }
    }
}
