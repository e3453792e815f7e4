package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// Grouped-query attention, softmax(q kᵀ / sqrt(headDim)) v, causal or joint, in tiles: no matrix of scores is kept.
///
/// Forward keeps one number a row and head, the logarithm of the sum of the exponentials of its scores, from which
/// backward computes the probabilities again (Dao et al., arXiv 2205.14135). Rows are tokens: row `b * sequenceLength +
/// t` is token t of sequence b. Rows that pad a sequence on the right come after all real ones, so causality keeps them
/// out of the results of the real ones.
public final class Attention {
    /// Backward splits the keys of a sequence until there are about this many units, whatever the number of threads.
    private static final int BACKWARD_UNITS = 12;

    /// Boundaries between the parts are multiples of this.
    private static final int KEYS = 64;

    private Attention() {}

    /// Attention within sequences: each row over the rows of its sequence up to itself, or over all of them if the
    /// shape is not causal.
    ///
    /// @param q (batch * sequenceLength, heads * headDim)
    /// @param k (batch * sequenceLength, keyValueHeads * headDim)
    /// @param v as k
    /// @param out as q, overwritten; not q
    /// @param logSumExp (batch * sequenceLength, heads), for [#backward]; null if there is none
    public static void forward(
            Compute compute,
            AttentionShape shape,
            Matrix q,
            Matrix k,
            Matrix v,
            Matrix out,
            @Nullable Matrix logSumExp,
            int batch,
            int sequenceLength) {
        int tokens = Math.multiplyExact(batch, sequenceLength);
        Shapes.require("q", q, tokens, shape.queryColumns());
        Shapes.require("k", k, tokens, shape.keyValueColumns());
        Shapes.requireSame("v", v, k);
        Shapes.requireSame("out", out, q);
        if (logSumExp != null) {
            Shapes.require("logSumExp", logSumExp, tokens, shape.heads());
        }
        int before = shape.keysBefore(sequenceLength);
        AttentionTask.take(compute)
                .forward(shape, q, k, v, out, logSumExp, batch, sequenceLength, sequenceLength, before);
    }

    /// Attention of new tokens over a cache that already holds their keys and values.
    ///
    /// @param q (newTokens, heads * headDim), the tokens at startPosition, startPosition + 1, ...
    /// @param keys (at least startPosition + newTokens, keyValueHeads * headDim)
    /// @param values as keys
    /// @param out as q, overwritten; not q
    public static void forwardCached(
            Compute compute,
            AttentionShape shape,
            Matrix q,
            Matrix keys,
            Matrix values,
            int startPosition,
            Matrix out) {
        if (!shape.causal()) {
            throw new IllegalArgumentException(
                    "shape: expected a causal one, as only those have a cache, found " + shape);
        }
        Shapes.require("q", q, q.rows(), shape.queryColumns());
        Shapes.requireSame("out", out, q);
        int known = Math.addExact(startPosition, q.rows());
        if (startPosition < 0 || keys.rows() < known) {
            throw new IllegalArgumentException("keys: expected at least " + known + " rows, found " + keys.rows());
        }
        Shapes.require("keys", keys, keys.rows(), shape.keyValueColumns());
        Shapes.requireSame("values", values, keys);
        if (q.rows() == 1) {
            AttentionTask.take(compute).step(shape, q, keys, values, known, out);
        } else {
            AttentionTask.take(compute).forward(shape, q, keys, values, out, null, 1, q.rows(), known, startPosition);
        }
    }

    /// The gradients of [#forward]; all three are overwritten.
    ///
    ///     P      = exp(scale q kᵀ - logSumExp), 0 for keys that a row does not see
    ///     dP     = gradOut vᵀ
    ///     dS     = P * (dP - rowsum(gradOut * out))
    ///     gradQ  = scale dS k,   gradK = scale dSᵀ q,   gradV = Pᵀ gradOut        (summed over the group of heads)
    ///
    /// @param out what forward wrote
    /// @param logSumExp what forward wrote
    public static void backward(
            Compute compute,
            AttentionShape shape,
            Matrix q,
            Matrix k,
            Matrix v,
            Matrix out,
            Matrix logSumExp,
            Matrix gradOut,
            Matrix gradQ,
            Matrix gradK,
            Matrix gradV,
            int batch,
            int sequenceLength) {
        int tokens = Math.multiplyExact(batch, sequenceLength);
        Shapes.require("q", q, tokens, shape.queryColumns());
        Shapes.require("k", k, tokens, shape.keyValueColumns());
        Shapes.requireSame("v", v, k);
        Shapes.requireSame("out", out, q);
        Shapes.require("logSumExp", logSumExp, tokens, shape.heads());
        Shapes.requireSame("gradOut", gradOut, q);
        Shapes.requireSame("gradQ", gradQ, q);
        Shapes.requireSame("gradK", gradK, k);
        Shapes.requireSame("gradV", gradV, v);
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix along = workspace.matrix(tokens, shape.heads());
        int parts = parts(batch * shape.keyValueHeads(), sequenceLength);
        // Each part of the keys adds to gradQ of all rows that see it: a buffer of its own, summed in the order of the
        // parts.
        Matrix partial = workspace.matrix(Math.multiplyExact(parts - 1, tokens), shape.queryColumns());
        AttentionTask.take(compute)
                .backward(
                        shape,
                        q,
                        k,
                        v,
                        out,
                        logSumExp,
                        gradOut,
                        along,
                        gradQ,
                        gradK,
                        gradV,
                        partial,
                        batch,
                        sequenceLength,
                        parts);
        for (int part = 1; part < parts; part++) {
            int skipped = shape.causal() ? boundary(shape, part, parts, sequenceLength) : 0;
            for (int sequence = 0; sequence < tokens; sequence += sequenceLength) {
                int from = (part - 1) * tokens + sequence;
                Elementwise.add(
                        compute,
                        partial.rows(from + skipped, from + sequenceLength),
                        gradQ.rows(sequence + skipped, sequence + sequenceLength));
            }
        }
        workspace.release(mark);
    }

    /// Into how many parts backward splits the keys of a sequence.
    private static int parts(int units, int sequenceLength) {
        int wanted = Math.max(1, BACKWARD_UNITS / Math.max(1, units));
        return Math.max(1, Math.min(wanted, sequenceLength / (2 * KEYS)));
    }

    /// First key of a part. In a causal attention key j meets sequenceLength - j rows: the parts have about equal areas
    /// of that triangle.
    static int boundary(AttentionShape shape, int part, int parts, int sequenceLength) {
        if (part == parts) {
            return sequenceLength;
        }
        double share = (double) part / parts;
        if (shape.causal()) {
            share = 1 - Math.sqrt(1 - share);
        }
        return (int) (share * sequenceLength) / KEYS * KEYS;
    }
}
