package io.vectune.models.flux;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.Gelu;
import io.vectune.runtime.nn.RowGate;
import io.vectune.runtime.tensor.Matrix;

/// One evaluation of one stream of a double stream block, before and after the joint attention.
///
///     n1 = adaNorm(h)              q, k, v of n1
///     m  = h + gate1 ⊙ attentionOut(attention)
///     n2 = adaNorm(m)              h' = m + gate2 ⊙ mlpOut(gelu(mlpIn(n2)))
final class StreamRun {
    private static final int SHIFT_ATTENTION = 0;
    private static final int SCALE_ATTENTION = 1;
    private static final int GATE_ATTENTION = 2;
    private static final int SHIFT_MLP = 3;
    private static final int SCALE_MLP = 4;
    private static final int GATE_MLP = 5;
    private static final int CHUNKS = 6;

    private final StreamLayers layers;
    private final Linears linears;
    private final Matrix h;
    private final Modulation modulation;
    private final Modulation.Norm attentionNorm;
    private final Matrix normed;
    private final Matrix attended;
    private final Matrix middle;
    private final Matrix mlpNormed;
    private final Matrix hidden;
    private final Matrix activated;
    private final Matrix output;
    private Modulation.Norm mlpNorm;

    /// Evaluates modulation and first norm.
    ///
    /// @param h (tokens of the stream, innerDim)
    StreamRun(FluxConfig config, StreamLayers layers, Linears linears, Matrix conditioning, Matrix h) {
        this.layers = layers;
        this.linears = linears;
        this.h = h;
        Workspace workspace = linears.compute().workspace();
        boolean recording = linears.recording();
        int tokens = h.rows();
        int dim = config.innerDim();
        modulation = new Modulation(linears, layers.modulation(), conditioning, CHUNKS);
        normed = workspace.matrix(tokens, dim);
        attentionNorm = modulation.norm(h, SHIFT_ATTENTION, SCALE_ATTENTION, normed);
        mlpNorm = attentionNorm;
        attended = recording ? workspace.matrix(tokens, dim) : normed;
        middle = recording ? workspace.matrix(tokens, dim) : h;
        mlpNormed = recording ? workspace.matrix(tokens, dim) : normed;
        hidden = workspace.matrix(tokens, config.mlpDim());
        activated = recording ? workspace.matrix(tokens, config.mlpDim()) : hidden;
        output = recording ? workspace.matrix(tokens, dim) : normed;
    }

    /// Writes query, key and value of the stream's tokens.
    void project(Matrix query, Matrix key, Matrix value) {
        linears.forward(layers.query(), normed, query);
        linears.forward(layers.key(), normed, key);
        linears.forward(layers.value(), normed, value);
    }

    /// Goes on after the attention.
    ///
    /// @param attention (tokens of the stream, innerDim)
    void finish(Matrix attention) {
        Compute compute = linears.compute();
        linears.forward(layers.attentionOut(), attention, attended);
        RowGate.add(compute, modulation.chunk(GATE_ATTENTION), attended, h, middle);
        mlpNorm = modulation.norm(middle, SHIFT_MLP, SCALE_MLP, mlpNormed);
        linears.forward(layers.mlpIn(), mlpNormed, hidden);
        Gelu.forward(compute, hidden, activated);
        linears.forward(layers.mlpOut(), activated, output);
    }

    /// Writes h' over `target`, which may be h.
    void writeTo(Matrix target) {
        RowGate.add(linears.compute(), modulation.chunk(GATE_MLP), output, middle, target);
    }

    /// Backward down to the attention.
    ///
    /// @param grad dL/dh' on entry, dL/dm on exit
    /// @param gradAttention overwritten with dL/dattention
    void backwardToAttention(Matrix attention, Matrix grad, Matrix gradAttention) {
        Compute compute = linears.compute();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        RowGate.addColumnProducts(compute, grad, output, modulation.grad(GATE_MLP));
        Matrix gradStream = workspace.matrix(grad.rows(), grad.columns());
        RowGate.multiply(compute, modulation.chunk(GATE_MLP), grad, gradStream);
        Matrix gradHidden = workspace.matrix(hidden.rows(), hidden.columns());
        linears.backward(layers.mlpOut(), activated, gradStream, gradHidden, false);
        Gelu.backward(compute, hidden, gradHidden, gradHidden);
        linears.backward(layers.mlpIn(), mlpNormed, gradHidden, gradStream, false);
        modulation.backward(mlpNorm, gradStream, grad, true);
        RowGate.addColumnProducts(compute, grad, attended, modulation.grad(GATE_ATTENTION));
        RowGate.multiply(compute, modulation.chunk(GATE_ATTENTION), grad, gradStream);
        linears.backward(layers.attentionOut(), attention, gradStream, gradAttention, false);
        workspace.release(mark);
    }

    /// Backward from the attention.
    ///
    /// @param grad dL/dm on entry, dL/dh on exit
    /// @param gradConditioning (1, innerDim), added to
    void backwardFromAttention(
            Matrix gradQuery, Matrix gradKey, Matrix gradValue, Matrix grad, Matrix gradConditioning) {
        Workspace workspace = linears.compute().workspace();
        long mark = workspace.mark();
        Matrix gradNormed = workspace.matrix(grad.rows(), grad.columns());
        linears.backward(layers.query(), normed, gradQuery, gradNormed, false);
        linears.backward(layers.key(), normed, gradKey, gradNormed, true);
        linears.backward(layers.value(), normed, gradValue, gradNormed, true);
        modulation.backward(attentionNorm, gradNormed, grad, true);
        modulation.backward(gradConditioning);
        workspace.release(mark);
    }
}
