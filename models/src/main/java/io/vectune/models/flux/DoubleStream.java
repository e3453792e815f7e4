package io.vectune.models.flux;

import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.RotaryPairs;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;

/// One evaluation of a double stream block: text and image have weights of their own and meet in the attention.
final class DoubleStream {
    private final FluxConfig config;
    private final Linears linears;
    private final int textTokens;
    private final StreamRun text;
    private final StreamRun image;
    private final JointAttention attention;
    private final Matrix attended;

    /// Evaluates the block; all matrices live in the workspace of the pass.
    ///
    /// @param h (tokens, innerDim), text tokens first
    DoubleStream(
            FluxConfig config,
            DoubleStreamLayers layers,
            Linears linears,
            RotaryPairs rotary,
            Matrix conditioning,
            int textTokens,
            Matrix h) {
        this.config = config;
        this.linears = linears;
        this.textTokens = textTokens;
        int tokens = h.rows();
        text = new StreamRun(config, layers.text(), linears, conditioning, h.rows(0, textTokens));
        image = new StreamRun(config, layers.image(), linears, conditioning, h.rows(textTokens, tokens));
        attended = linears.compute().workspace().matrix(tokens, config.innerDim());
        attention =
                new JointAttention(
                        linears.compute(),
                        config,
                        rotary,
                        List.of(segment(0, textTokens, layers.text()), segment(textTokens, tokens, layers.image())),
                        attended,
                        linears.recording());
        text.project(ofText(attention.query()), ofText(attention.key()), ofText(attention.value()));
        image.project(ofImage(attention.query()), ofImage(attention.key()), ofImage(attention.value()));
        attention.forward();
        text.finish(ofText(attended));
        image.finish(ofImage(attended));
    }

    private static JointAttention.Segment segment(int from, int to, StreamLayers layers) {
        return new JointAttention.Segment(from, to, layers.queryNorm(), layers.keyNorm());
    }

    private Matrix ofText(Matrix joint) {
        return joint.rows(0, textTokens);
    }

    private Matrix ofImage(Matrix joint) {
        return joint.rows(textTokens, joint.rows());
    }

    /// Writes h' over h.
    void writeTo(Matrix h) {
        text.writeTo(ofText(h));
        image.writeTo(ofImage(h));
    }

    /// Backward.
    ///
    /// @param grad (tokens, innerDim), dL/dh' on entry, dL/dh on exit
    /// @param gradConditioning (1, innerDim), added to
    void backward(Matrix grad, Matrix gradConditioning) {
        Workspace workspace = linears.compute().workspace();
        long mark = workspace.mark();
        int tokens = grad.rows();
        int dim = config.innerDim();
        Matrix gradAttended = workspace.matrix(tokens, dim);
        text.backwardToAttention(ofText(attended), ofText(grad), ofText(gradAttended));
        image.backwardToAttention(ofImage(attended), ofImage(grad), ofImage(gradAttended));
        Matrix gradQuery = workspace.matrix(tokens, dim);
        Matrix gradKey = workspace.matrix(tokens, dim);
        Matrix gradValue = workspace.matrix(tokens, dim);
        attention.backward(gradAttended, gradQuery, gradKey, gradValue);
        text.backwardFromAttention(
                ofText(gradQuery), ofText(gradKey), ofText(gradValue), ofText(grad), gradConditioning);
        image.backwardFromAttention(
                ofImage(gradQuery), ofImage(gradKey), ofImage(gradValue), ofImage(grad), gradConditioning);
        workspace.release(mark);
    }
}
