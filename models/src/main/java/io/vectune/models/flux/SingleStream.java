package io.vectune.models.flux;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.Gelu;
import io.vectune.runtime.nn.RotaryPairs;
import io.vectune.runtime.nn.RowGate;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;

/// One evaluation of a single stream block: attention and MLP read the same normed input and share the layer that
/// writes back.
///
///     n = adaNorm(h)        h' = h + gate ⊙ out([attention(n) | gelu(mlpIn(n))])
final class SingleStream {
    private static final int SHIFT = 0;
    private static final int SCALE = 1;
    private static final int GATE = 2;
    private static final int CHUNKS = 3;

    private final FluxConfig config;
    private final SingleStreamLayers layers;
    private final Linears linears;
    private final Modulation modulation;
    private final Modulation.Norm norm;
    private final Matrix normed;
    private final JointAttention attention;
    private final Matrix hidden;
    private final Matrix joined;
    private final Matrix output;

    /// Evaluates the block; all matrices live in the workspace of the pass.
    ///
    /// @param h (tokens, innerDim)
    SingleStream(
            FluxConfig config,
            SingleStreamLayers layers,
            Linears linears,
            RotaryPairs rotary,
            Matrix conditioning,
            Matrix h) {
        this.config = config;
        this.layers = layers;
        this.linears = linears;
        Compute compute = linears.compute();
        Workspace workspace = compute.workspace();
        int tokens = h.rows();
        int dim = config.innerDim();
        modulation = new Modulation(linears, layers.modulation(), conditioning, CHUNKS);
        normed = workspace.matrix(tokens, dim);
        norm = modulation.norm(h, SHIFT, SCALE, normed);
        joined = workspace.matrix(tokens, dim + config.mlpDim());
        Matrix mlp = joined.columns(dim, joined.columns());
        hidden = linears.recording() ? workspace.matrix(tokens, config.mlpDim()) : mlp;
        linears.forward(layers.mlpIn(), normed, hidden);
        Gelu.forward(compute, hidden, mlp);
        attention =
                new JointAttention(
                        compute,
                        config,
                        rotary,
                        List.of(new JointAttention.Segment(0, tokens, layers.queryNorm(), layers.keyNorm())),
                        joined.columns(0, dim),
                        linears.recording());
        linears.forward(layers.query(), normed, attention.query());
        linears.forward(layers.key(), normed, attention.key());
        linears.forward(layers.value(), normed, attention.value());
        attention.forward();
        output = linears.recording() ? workspace.matrix(tokens, dim) : normed;
        linears.forward(layers.out(), joined, output);
    }

    /// Writes h' over h.
    void addTo(Matrix h) {
        RowGate.add(linears.compute(), modulation.chunk(GATE), output, h, h);
    }

    /// Backward.
    ///
    /// @param grad (tokens, innerDim), dL/dh' on entry, dL/dh on exit
    /// @param gradConditioning (1, innerDim), added to
    void backward(Matrix grad, Matrix gradConditioning) {
        Compute compute = linears.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int tokens = grad.rows();
        int dim = config.innerDim();
        RowGate.addColumnProducts(compute, grad, output, modulation.grad(GATE));
        Matrix gradNormed = workspace.matrix(tokens, dim);
        RowGate.multiply(compute, modulation.chunk(GATE), grad, gradNormed);
        Matrix gradJoined = workspace.matrix(tokens, joined.columns());
        linears.backward(layers.out(), joined, gradNormed, gradJoined, false);
        Matrix gradHidden = gradJoined.columns(dim, joined.columns());
        Gelu.backward(compute, hidden, gradHidden, gradHidden);
        linears.backward(layers.mlpIn(), normed, gradHidden, gradNormed, false);
        Matrix gradQuery = workspace.matrix(tokens, dim);
        Matrix gradKey = workspace.matrix(tokens, dim);
        Matrix gradValue = workspace.matrix(tokens, dim);
        attention.backward(gradJoined.columns(0, dim), gradQuery, gradKey, gradValue);
        linears.backward(layers.query(), normed, gradQuery, gradNormed, true);
        linears.backward(layers.key(), normed, gradKey, gradNormed, true);
        linears.backward(layers.value(), normed, gradValue, gradNormed, true);
        modulation.backward(norm, gradNormed, grad, true);
        modulation.backward(gradConditioning);
        workspace.release(mark);
    }
}
