package io.vectune.models.flux;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.nn.Attention;
import io.vectune.runtime.nn.AttentionShape;
import io.vectune.runtime.nn.RmsNorm;
import io.vectune.runtime.nn.RotaryPairs;
import io.vectune.runtime.tensor.Matrix;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Attention of the joined sequence, text tokens first: norms of query and key heads, rotation by the ids, attention of
/// every token over all tokens.
final class JointAttention {
    /// Tokens that share their norms.
    ///
    /// @param queryNorm (1, headDim)
    record Segment(int from, int to, Matrix queryNorm, Matrix keyNorm) {}

    /// Reciprocal root mean squares of the heads, and the logarithms of the sums of the attention.
    private record Statistics(Matrix query, Matrix key, Matrix logSumExp) {}

    private final Compute compute;
    private final AttentionShape shape;
    private final RotaryPairs rotary;
    private final List<Segment> segments;
    private final Matrix query;
    private final Matrix key;
    private final Matrix value;
    private final Matrix rotatedQuery;
    private final Matrix rotatedKey;
    private final Matrix out;
    private final @Nullable Statistics statistics;

    /// @param out (tokens, innerDim), written by [#forward]
    /// @param recording whether backward follows
    JointAttention(
            Compute compute,
            FluxConfig config,
            RotaryPairs rotary,
            List<Segment> segments,
            Matrix out,
            boolean recording) {
        this.compute = compute;
        this.shape = AttentionShape.joint(config.heads(), config.headDim());
        this.rotary = rotary;
        this.segments = segments;
        this.out = out;
        Workspace workspace = compute.workspace();
        int tokens = out.rows();
        int dim = config.innerDim();
        query = workspace.matrix(tokens, dim);
        key = workspace.matrix(tokens, dim);
        value = workspace.matrix(tokens, dim);
        if (recording) {
            rotatedQuery = workspace.matrix(tokens, dim);
            rotatedKey = workspace.matrix(tokens, dim);
            int heads = Math.multiplyExact(tokens, config.heads());
            statistics =
                    new Statistics(
                            workspace.matrix(heads, 1),
                            workspace.matrix(heads, 1),
                            workspace.matrix(tokens, config.heads()));
        } else {
            rotatedQuery = query;
            rotatedKey = key;
            statistics = null;
        }
    }

    /// (tokens, innerDim), what the query layers write.
    Matrix query() {
        return query;
    }

    Matrix key() {
        return key;
    }

    Matrix value() {
        return value;
    }

    /// Overwrites `out`.
    void forward() {
        for (Segment segment : segments) {
            normalize(segment, query, segment.queryNorm, rotatedQuery, statistics == null ? null : statistics.query);
            normalize(segment, key, segment.keyNorm, rotatedKey, statistics == null ? null : statistics.key);
        }
        rotary.apply(compute, rotatedQuery, false);
        rotary.apply(compute, rotatedKey, false);
        Matrix logSumExp = statistics == null ? null : statistics.logSumExp;
        Attention.forward(compute, shape, rotatedQuery, rotatedKey, value, out, logSumExp, 1, out.rows());
    }

    private void normalize(Segment segment, Matrix x, Matrix weight, Matrix y, @Nullable Matrix inverseRms) {
        RmsNorm.forward(
                compute,
                heads(segment, x),
                weight,
                FluxConfig.NORM_EPS,
                heads(segment, y),
                inverseRms == null ? null : ofHeads(segment, inverseRms));
    }

    /// The heads of a segment as rows.
    private Matrix heads(Segment segment, Matrix x) {
        int rows = (segment.to - segment.from) * shape.heads();
        return Matrix.of(x.segment(), x.rowOffset(segment.from), rows, shape.headDim(), shape.headDim());
    }

    private Matrix ofHeads(Segment segment, Matrix perHead) {
        return perHead.rows(segment.from * shape.heads(), segment.to * shape.heads());
    }

    /// Overwrites the gradients of query, key and value, all (tokens, innerDim) without gaps.
    void backward(Matrix gradOut, Matrix gradQuery, Matrix gradKey, Matrix gradValue) {
        Statistics kept = statistics;
        if (kept == null) {
            throw new IllegalStateException("the forward pass was not recorded");
        }
        Attention.backward(
                compute,
                shape,
                rotatedQuery,
                rotatedKey,
                value,
                out,
                kept.logSumExp,
                gradOut,
                gradQuery,
                gradKey,
                gradValue,
                1,
                out.rows());
        rotary.apply(compute, gradQuery, true);
        rotary.apply(compute, gradKey, true);
        for (Segment segment : segments) {
            backward(segment, query, segment.queryNorm, kept.query, gradQuery);
            backward(segment, key, segment.keyNorm, kept.key, gradKey);
        }
    }

    private void backward(Segment segment, Matrix x, Matrix weight, Matrix inverseRms, Matrix grad) {
        Matrix gradHeads = heads(segment, grad);
        RmsNorm.backward(
                compute, heads(segment, x), weight, ofHeads(segment, inverseRms), gradHeads, gradHeads, false, null);
    }
}
