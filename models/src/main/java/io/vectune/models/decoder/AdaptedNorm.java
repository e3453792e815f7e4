package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.adapters.AdapterMix;
import io.vectune.adapters.MixedNorm;
import io.vectune.adapters.NormScale;
import io.vectune.adapters.RowGroups;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.nn.RmsNorm;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// A norm with the adapter of a run: its scale is the frozen one, a trained one, or in a mixed batch one a run of rows.
/// Trained scales are live, so that a trainer's changes show at once.
final class AdaptedNorm {
    private final String name;
    private final Matrix frozen;
    private final float eps;
    private final @Nullable Matrix scale;
    private final @Nullable MixedNorm mix;

    /// @param frozen (1, features)
    /// @param adapters by the name of their module
    AdaptedNorm(String name, Matrix frozen, float eps, Map<String, Adapter> adapters) {
        this.name = name;
        this.frozen = frozen;
        this.eps = eps;
        Adapter adapter = adapters.get(name);
        this.scale = adapter instanceof NormScale norm ? norm.scale() : null;
        this.mix = adapter instanceof MixedNorm mixed ? mixed : null;
    }

    /// Whether any row has a trained scale.
    boolean isAdapted() {
        return scale != null || mix != null;
    }

    /// Normalizes the rows of x; y may be x. See [RmsNorm#forward].
    ///
    /// @param seed whose rows, if they differ, are those of x
    void forward(Compute compute, Matrix x, Matrix y, @Nullable Matrix inverseRms, CallSeed seed) {
        if (mix == null) {
            RmsNorm.forward(compute, x, scale == null ? frozen : scale, eps, y, inverseRms);
            return;
        }
        for (RowGroups.Run run : mix.runs(seed.options().groups(), x.rows())) {
            RmsNorm.forward(
                    compute,
                    of(run, x),
                    scaleOf(mix, run),
                    eps,
                    of(run, y),
                    inverseRms == null ? null : of(run, inverseRms));
        }
    }

    /// Backward of the same call; adds the gradients of trained scales. See [RmsNorm#backward].
    ///
    /// @param gradX may be gradY if `accumulate` is false and the norm is not adapted
    void backward(
            Compute compute,
            Matrix x,
            Matrix inverseRms,
            Matrix gradY,
            Matrix gradX,
            boolean accumulate,
            CallSeed seed,
            Map<String, List<Matrix>> gradients) {
        List<Matrix> own = gradients.getOrDefault(name, List.of());
        if (mix == null) {
            Matrix gradScale = own.isEmpty() ? null : own.getFirst();
            Matrix weight = scale == null ? frozen : scale;
            RmsNorm.backward(compute, x, weight, inverseRms, gradY, gradX, accumulate, gradScale);
            return;
        }
        for (RowGroups.Run run : mix.runs(seed.options().groups(), x.rows())) {
            RmsNorm.backward(
                    compute,
                    of(run, x),
                    scaleOf(mix, run),
                    of(run, inverseRms),
                    of(run, gradY),
                    of(run, gradX),
                    accumulate,
                    gradientOf(mix, run, own));
        }
    }

    private Matrix scaleOf(MixedNorm mixed, RowGroups.Run run) {
        Matrix own = mixed.scaleOf(run);
        return own == null ? frozen : own;
    }

    private static @Nullable Matrix gradientOf(AdapterMix mixed, RowGroups.Run run, List<Matrix> gradients) {
        return gradients.isEmpty() || mixed.memberOf(run) == null
                ? null
                : mixed.gradientsOf(gradients, run.adapter()).getFirst();
    }

    private static Matrix of(RowGroups.Run run, Matrix rows) {
        return rows.rows(run.from(), run.to());
    }
}
