package io.vectune.models.decoder;

import io.vectune.adapters.Adapter;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.Attention;
import io.vectune.runtime.nn.AttentionShape;
import io.vectune.runtime.nn.Elementwise;
import io.vectune.runtime.nn.RotaryTable;
import io.vectune.runtime.nn.SwiGlu;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// One layer with the adapters of one run: forward over whole sequences, and the backward of that, written out.
final class DecoderBlock {
    /// How far down the gradient has to go in a layer; each implies those before it.
    enum Reach {
        /// Adapters of `down` alone.
        DOWN,
        /// To gate and up.
        GATE_UP,
        /// Through the MLP to the adapters of `o`.
        ATTENTION_OUTPUT,
        /// Through attention to q, k and v.
        QUERY_KEY_VALUE,
        /// Through the whole layer.
        INPUT
    }

    private final DecoderConfig config;
    private final DecoderLayer layer;
    private final AttentionShape shape;
    private final Projection queryKeyValue;
    private final Projection attentionOutput;
    private final Projection gateUp;
    private final Projection down;
    private final AdaptedNorm inputNorm;
    private final @Nullable HeadNorms headNorms;
    private final AdaptedNorm postAttentionNorm;

    /// The norms of each query head and each key head.
    private record HeadNorms(AdaptedNorm query, AdaptedNorm key) {
        boolean isAdapted() {
            return query.isAdapted() || key.isAdapted();
        }
    }

    DecoderBlock(DecoderConfig config, DecoderLayer layer, Map<String, Adapter> adapters) {
        this.config = config;
        this.layer = layer;
        this.shape = new AttentionShape(config.numAttentionHeads(), config.numKeyValueHeads(), config.headDim());
        this.queryKeyValue = new Projection(adapters, layer.query(), layer.key(), layer.value());
        this.attentionOutput = new Projection(adapters, layer.attentionOutput());
        this.gateUp = new Projection(adapters, layer.gate(), layer.up());
        this.down = new Projection(adapters, layer.down());
        float eps = config.rmsNormEps();
        this.inputNorm = new AdaptedNorm(layer.inputNormName(), layer.inputNorm(), eps, adapters);
        this.postAttentionNorm =
                new AdaptedNorm(layer.postAttentionNormName(), layer.postAttentionNorm(), eps, adapters);
        Matrix queryNorm = layer.queryNorm();
        Matrix keyNorm = layer.keyNorm();
        this.headNorms =
                queryNorm == null || keyNorm == null
                        ? null
                        : new HeadNorms(
                                new AdaptedNorm(layer.queryNormName(), queryNorm, eps, adapters),
                                new AdaptedNorm(layer.keyNormName(), keyNorm, eps, adapters));
    }

    private boolean tunesHeadNorms() {
        return headNorms != null && headNorms.isAdapted();
    }

    /// Whether any linear layer or norm has an adapter.
    boolean isAdapted() {
        return inputNorm.isAdapted()
                || tunesHeadNorms()
                || postAttentionNorm.isAdapted()
                || queryKeyValue.isAdapted()
                || attentionOutput.isAdapted()
                || gateUp.isAdapted()
                || down.isAdapted();
    }

    /// How far down backward has to go if no layer below has an adapter.
    Reach lowestReach() {
        if (inputNorm.isAdapted()) {
            return Reach.INPUT;
        }
        if (queryKeyValue.isAdapted() || tunesHeadNorms()) {
            return Reach.QUERY_KEY_VALUE;
        }
        if (attentionOutput.isAdapted() || postAttentionNorm.isAdapted()) {
            return Reach.ATTENTION_OUTPUT;
        }
        return gateUp.isAdapted() ? Reach.GATE_UP : Reach.DOWN;
    }

    /// Floats that the adapters keep, for each projection.
    List<Long> savedFloats(int tokens) {
        return List.of(
                queryKeyValue.savedFloats(tokens),
                attentionOutput.savedFloats(tokens),
                gateUp.savedFloats(tokens),
                down.savedFloats(tokens));
    }

    /// The layer over the sequences of a batch: overwrites out and the buffers.
    ///
    /// @param x (tokens, hiddenSize); not modified
    /// @param out (tokens, hiddenSize), other memory than x
    void forward(
            Compute compute,
            RotaryTable rotary,
            SequenceBatch batch,
            CallSeed seed,
            Matrix x,
            LayerBuffers buffers,
            Matrix out) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix normed = workspace.matrix(x.rows(), config.hiddenSize());
        inputNorm.forward(compute, x, normed, buffers.inputRms(), seed);
        queryKeyValue.forward(compute, normed, buffers.projected(), buffers.saved().queryKeyValue(), seed);
        normHeads(compute, buffers, seed);
        rotary.apply(compute, query(buffers), batch.positions(), false);
        rotary.apply(compute, key(buffers), batch.positions(), false);
        for (SequenceBatch.Run run : batch.runs()) {
            int to = run.from() + run.rows() * run.length();
            Attention.forward(
                    compute,
                    shape,
                    query(buffers).rows(run.from(), to),
                    key(buffers).rows(run.from(), to),
                    value(buffers.projected()).rows(run.from(), to),
                    buffers.attention().rows(run.from(), to),
                    buffers.logSumExp().rows(run.from(), to),
                    run.rows(),
                    run.length());
        }
        Matrix middle = buffers.middle();
        attentionOutput.forward(compute, buffers.attention(), middle, buffers.saved().output(), seed);
        Elementwise.add(compute, x, middle);
        postAttentionNorm.forward(compute, middle, normed, buffers.middleRms(), seed);
        gateUp.forward(compute, normed, buffers.gateUp(), buffers.saved().gateUp(), seed);
        Matrix gated = workspace.matrix(x.rows(), config.intermediateSize());
        SwiGlu.forward(compute, gate(buffers.gateUp()), up(buffers.gateUp()), gated);
        down.forward(compute, gated, out, buffers.saved().down(), seed);
        Elementwise.add(compute, middle, out);
        workspace.release(mark);
    }

    /// Backward of [#forward]: adds to the gradients of the adapters; the buffers are used up.
    ///
    /// @param x what forward read
    /// @param gradient (tokens, hiddenSize): on entry dL/d out; on exit dL/dx if the reach is INPUT, else undefined
    void backward(
            Compute compute,
            RotaryTable rotary,
            SequenceBatch batch,
            CallSeed seed,
            Matrix x,
            LayerBuffers buffers,
            Matrix gradient,
            Reach reach,
            Map<String, List<Matrix>> gradients) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        backwardMlp(compute, seed, buffers, gradient, reach, gradients);
        if (reach.compareTo(Reach.ATTENTION_OUTPUT) >= 0) {
            // forward: middle = x + o(attention)
            boolean through = reach.compareTo(Reach.QUERY_KEY_VALUE) >= 0;
            Matrix gradAttention = through ? workspace.matrix(x.rows(), config.querySize()) : null;
            attentionOutput.backward(
                    compute, buffers.attention(), buffers.saved().output(), seed, gradient, gradAttention, gradients);
            if (gradAttention != null) {
                Matrix gradProjected =
                        backwardAttention(compute, rotary, batch, seed, buffers, gradAttention, gradients);
                Matrix normed = workspace.matrix(x.rows(), config.hiddenSize());
                if (queryKeyValue.isAdapted()) {
                    inputNorm.forward(compute, x, normed, null, seed);
                }
                Matrix gradNormed = reach == Reach.INPUT ? workspace.matrix(x.rows(), config.hiddenSize()) : null;
                queryKeyValue.backward(
                        compute, normed, buffers.saved().queryKeyValue(), seed, gradProjected, gradNormed, gradients);
                if (gradNormed != null) {
                    inputNorm.backward(compute, x, buffers.inputRms(), gradNormed, gradient, true, seed, gradients);
                }
            }
        }
        workspace.release(mark);
    }

    /// forward: out = middle + down(silu(gate(n)) * up(n)), n = rmsNorm(middle).
    private void backwardMlp(
            Compute compute,
            CallSeed seed,
            LayerBuffers buffers,
            Matrix gradient,
            Reach reach,
            Map<String, List<Matrix>> gradients) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int tokens = gradient.rows();
        Matrix gateAndUp = buffers.gateUp();
        Matrix gated = workspace.matrix(tokens, config.intermediateSize());
        if (down.isAdapted()) {
            SwiGlu.forward(compute, gate(gateAndUp), up(gateAndUp), gated);
        }
        Matrix gradGated = reach == Reach.DOWN ? null : workspace.matrix(tokens, config.intermediateSize());
        down.backward(compute, gated, buffers.saved().down(), seed, gradient, gradGated, gradients);
        if (gradGated != null) {
            SwiGlu.backward(compute, gate(gateAndUp), up(gateAndUp), gradGated, gate(gateAndUp), up(gateAndUp));
            Matrix normed = workspace.matrix(tokens, config.hiddenSize());
            if (gateUp.isAdapted()) {
                postAttentionNorm.forward(compute, buffers.middle(), normed, null, seed);
            }
            Matrix gradNormed = reach == Reach.GATE_UP ? null : workspace.matrix(tokens, config.hiddenSize());
            gateUp.backward(compute, normed, buffers.saved().gateUp(), seed, gateAndUp, gradNormed, gradients);
            if (gradNormed != null) {
                postAttentionNorm.backward(
                        compute, buffers.middle(), buffers.middleRms(), gradNormed, gradient, true, seed, gradients);
            }
        }
        workspace.release(mark);
    }

    /// dL/d(q, k, v) as the linear layers gave them, in temporary memory of the caller.
    private Matrix backwardAttention(
            Compute compute,
            RotaryTable rotary,
            SequenceBatch batch,
            CallSeed seed,
            LayerBuffers buffers,
            Matrix gradAttention,
            Map<String, List<Matrix>> gradients) {
        Matrix gradProjected =
                compute.workspace().matrix(gradAttention.rows(), config.querySize() + 2 * config.keyValueSize());
        Matrix gradQuery = query(gradProjected);
        Matrix gradKey = key(gradProjected);
        for (SequenceBatch.Run run : batch.runs()) {
            int from = run.from();
            int to = from + run.rows() * run.length();
            Attention.backward(
                    compute,
                    shape,
                    query(buffers).rows(from, to),
                    key(buffers).rows(from, to),
                    value(buffers.projected()).rows(from, to),
                    buffers.attention().rows(from, to),
                    buffers.logSumExp().rows(from, to),
                    gradAttention.rows(from, to),
                    gradQuery.rows(from, to),
                    gradKey.rows(from, to),
                    value(gradProjected).rows(from, to),
                    run.rows(),
                    run.length());
        }
        rotary.apply(compute, gradQuery, batch.positions(), true);
        rotary.apply(compute, gradKey, batch.positions(), true);
        LayerBuffers.HeadNorms norms = buffers.headNorms();
        if (norms != null && headNorms != null) {
            Matrix projected = buffers.projected();
            backwardHeads(compute, query(projected), headNorms.query, norms.queryRms(), gradQuery, seed, gradients);
            backwardHeads(compute, key(projected), headNorms.key, norms.keyRms(), gradKey, seed, gradients);
        }
        return gradProjected;
    }

    private void backwardHeads(
            Compute compute,
            Matrix x,
            AdaptedNorm norm,
            Matrix inverseRms,
            Matrix gradient,
            CallSeed seed,
            Map<String, List<Matrix>> gradients) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        for (int head = 0; head < inverseRms.columns(); head++) {
            Matrix gradHead = head(gradient, head);
            Matrix gradOutput = gradHead;
            if (norm.isAdapted()) {
                // The scale's gradient is taken after that of x has its place.
                gradOutput = workspace.matrix(gradHead.rows(), gradHead.columns());
                gradOutput.copyFrom(gradHead);
            }
            Matrix rms = inverseRms.columns(head, head + 1);
            norm.backward(compute, head(x, head), rms, gradOutput, gradHead, false, seed, gradients);
        }
        workspace.release(mark);
    }

    private void normHeads(Compute compute, LayerBuffers buffers, CallSeed seed) {
        LayerBuffers.HeadNorms norms = buffers.headNorms();
        if (norms != null && headNorms != null) {
            normHeads(compute, query(buffers.projected()), headNorms.query, norms.query(), norms.queryRms(), seed);
            normHeads(compute, key(buffers.projected()), headNorms.key, norms.key(), norms.keyRms(), seed);
        }
    }

    /// Norms each head of x on its own; out may be x.
    private void normHeads(
            Compute compute, Matrix x, AdaptedNorm norm, Matrix out, @Nullable Matrix inverseRms, CallSeed seed) {
        for (int head = 0; head < x.columns() / config.headDim(); head++) {
            Matrix rms = inverseRms == null ? null : inverseRms.columns(head, head + 1);
            norm.forward(compute, head(x, head), head(out, head), rms, seed);
        }
    }

    /// New tokens of one text: rows of x, and where they go in its cache.
    ///
    /// @param from first row of x
    /// @param to after the last row
    /// @param start position of the first one in the text
    record CachedText(KeyValueCache cache, int from, int to, int start) {}

    /// The layer over new tokens of texts whose earlier keys and values are in their caches. Changes x in place, writes
    /// the keys and values of the new tokens to the caches.
    ///
    /// @param positions of all rows in their texts
    /// @param texts that together cover the rows of x
    void forwardCached(
            Compute compute, RotaryTable rotary, int[] positions, List<CachedText> texts, CallSeed seed, Matrix x) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int tokens = x.rows();
        Matrix normed = workspace.matrix(tokens, config.hiddenSize());
        inputNorm.forward(compute, x, normed, null, seed);
        Matrix projected = workspace.matrix(tokens, config.querySize() + 2 * config.keyValueSize());
        queryKeyValue.forward(compute, normed, projected, null, seed);
        Matrix query = query(projected);
        Matrix key = key(projected);
        if (headNorms != null) {
            normHeads(compute, query, headNorms.query, query, null, seed);
            normHeads(compute, key, headNorms.key, key, null, seed);
        }
        rotary.apply(compute, query, positions, false);
        rotary.apply(compute, key, positions, false);
        Matrix attention = workspace.matrix(tokens, config.querySize());
        for (CachedText text : texts) {
            int end = text.start + text.to - text.from;
            Matrix keys = text.cache.keys(layer.index());
            Matrix values = text.cache.values(layer.index());
            keys.rows(text.start, end).copyFrom(key.rows(text.from, text.to));
            values.rows(text.start, end).copyFrom(value(projected).rows(text.from, text.to));
            Attention.forwardCached(
                    compute,
                    shape,
                    query.rows(text.from, text.to),
                    keys,
                    values,
                    text.start,
                    attention.rows(text.from, text.to));
        }
        Matrix change = workspace.matrix(tokens, config.hiddenSize());
        attentionOutput.forward(compute, attention, change, null, seed);
        Elementwise.add(compute, change, x);
        postAttentionNorm.forward(compute, x, normed, null, seed);
        Matrix gateAndUp = workspace.matrix(tokens, 2 * config.intermediateSize());
        gateUp.forward(compute, normed, gateAndUp, null, seed);
        Matrix gated = workspace.matrix(tokens, config.intermediateSize());
        SwiGlu.forward(compute, gate(gateAndUp), up(gateAndUp), gated);
        down.forward(compute, gated, change, null, seed);
        Elementwise.add(compute, change, x);
        workspace.release(mark);
    }

    private Matrix query(LayerBuffers buffers) {
        LayerBuffers.HeadNorms norms = buffers.headNorms();
        return norms == null ? query(buffers.projected()) : norms.query();
    }

    private Matrix key(LayerBuffers buffers) {
        LayerBuffers.HeadNorms norms = buffers.headNorms();
        return norms == null ? key(buffers.projected()) : norms.key();
    }

    private Matrix query(Matrix projected) {
        return projected.columns(0, config.querySize());
    }

    private Matrix key(Matrix projected) {
        return projected.columns(config.querySize(), config.querySize() + config.keyValueSize());
    }

    private Matrix value(Matrix projected) {
        return projected.columns(config.querySize() + config.keyValueSize(), projected.columns());
    }

    private Matrix gate(Matrix gateAndUp) {
        return gateAndUp.columns(0, config.intermediateSize());
    }

    private Matrix up(Matrix gateAndUp) {
        return gateAndUp.columns(config.intermediateSize(), gateAndUp.columns());
    }

    private Matrix head(Matrix heads, int head) {
        return heads.columns(head * config.headDim(), (head + 1) * config.headDim());
    }
}
