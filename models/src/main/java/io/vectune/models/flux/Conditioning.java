package io.vectune.models.flux;

import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.tensor.Matrix;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The conditioning of all modulations, from timestep, guidance and pooled text:
///
///     temb = mlp(sinusoid(1000 timestep)) (+ mlp(sinusoid(1000 guidance))) + mlp(pooled)        c = silu(temb)
///
/// with mlp(x) = second(silu(first(x))). All are rows of one token.
final class Conditioning {
    private static final float TIME_SCALE = 1000;
    private static final double MAX_PERIOD = 10_000;

    /// One embedder with what its backward needs.
    private record Branch(EmbedderLayers layers, Matrix input, Matrix hidden, Matrix activated) {}

    private final Linears linears;
    private final List<Branch> branches = new ArrayList<>();
    private final Matrix sum;
    private final Matrix activated;

    /// Evaluates the embedders; the matrices live in the workspace of the pass.
    Conditioning(FluxModel model, Linears linears, FluxInputs inputs) {
        this.linears = linears;
        Workspace workspace = linears.compute().workspace();
        int dim = model.config().innerDim();
        sum = workspace.matrix(1, dim);
        activated = workspace.matrix(1, dim);
        add(model.timestepEmbedder(), sinusoid(workspace, inputs.timestep()));
        EmbedderLayers guidance = model.guidanceEmbedder();
        @Nullable Float scale = inputs.guidance();
        if (guidance != null && scale != null) {
            add(guidance, sinusoid(workspace, scale));
        }
        add(model.textEmbedder(), inputs.pooledProjections());
        Silu.forward(sum, activated);
    }

    /// c (1, innerDim).
    Matrix activated() {
        return activated;
    }

    private void add(EmbedderLayers layers, Matrix input) {
        Workspace workspace = linears.compute().workspace();
        Matrix hidden = workspace.matrix(1, layers.first().weight().outFeatures());
        Matrix active = workspace.matrix(1, hidden.columns());
        linears.forward(layers.first(), input, hidden);
        Silu.forward(hidden, active);
        if (branches.isEmpty()) {
            linears.forward(layers.second(), active, sum);
        } else {
            Matrix added = workspace.matrix(1, sum.columns());
            linears.forward(layers.second(), active, added);
            Elementwise.add(linears.compute(), added, sum);
        }
        branches.add(new Branch(layers, input, hidden, active));
    }

    /// Backward into the adapters of the embedders.
    ///
    /// @param grad (1, innerDim), dL/dc; overwritten with dL/dtemb
    void backward(Matrix grad) {
        Silu.backward(sum, grad);
        Workspace workspace = linears.compute().workspace();
        for (Branch branch : branches) {
            boolean first = linears.isAdapted(branch.layers.first());
            if (!first && !linears.isAdapted(branch.layers.second())) {
                continue;
            }
            long mark = workspace.mark();
            Matrix gradHidden = first ? workspace.matrix(1, branch.hidden.columns()) : null;
            linears.backward(branch.layers.second(), branch.activated, grad, gradHidden, false);
            if (gradHidden != null) {
                Silu.backward(branch.hidden, gradHidden);
                linears.backward(branch.layers.first(), branch.input, gradHidden, null, false);
            }
            workspace.release(mark);
        }
    }

    /// cos and sin of 1000 t 10000^(-i / 128), rounded to f32 where diffusers does it.
    private static Matrix sinusoid(Workspace workspace, float t) {
        int half = FluxConfig.TIMESTEP_CHANNELS / 2;
        Matrix row = workspace.matrix(1, FluxConfig.TIMESTEP_CHANNELS);
        float time = t * TIME_SCALE;
        for (int i = 0; i < half; i++) {
            float exponent = (float) -Math.log(MAX_PERIOD) * i / half;
            float angle = time * (float) Math.exp(exponent);
            row.set(0, i, (float) Math.cos(angle));
            row.set(0, half + i, (float) Math.sin(angle));
        }
        return row;
    }
}
