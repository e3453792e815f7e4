package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// The regions of [Attention] of one session, with shapes checked by it.
final class AttentionTask extends SessionTask {
    /// Query rows of one unit of work in forward.
    private static final int ROWS = 64;

    private enum Phase {
        FORWARD,
        STEP,
        ROW_PRODUCTS,
        BACKWARD
    }

    private static final AttentionKernel KERNEL = AttentionKernel.active();
    private static final AttentionShape NO_SHAPE = new AttentionShape(1, 1, 1);

    private final Compute compute;

    // The call that runs.
    private Phase phase = Phase.FORWARD;
    private AttentionShape shape = NO_SHAPE;
    private Matrix q = NONE;
    private Matrix k = NONE;
    private Matrix v = NONE;
    private Matrix out = NONE;
    private @Nullable Matrix logSumExp;
    private Matrix gradOut = NONE;
    private Matrix along = NONE;
    private Matrix gradQ = NONE;
    private Matrix gradK = NONE;
    private Matrix gradV = NONE;
    private Matrix partial = NONE;

    // Rows and keys of a sequence, and how the units are cut.
    private int rows;
    private int keys;
    private int keysBefore;
    private int tiles;
    private int parts;
    private int headsOfUnit;

    private AttentionTask(Compute compute) {
        this.compute = compute;
    }

    static AttentionTask take(Compute compute) {
        return take(compute, AttentionTask.class, AttentionTask::new);
    }

    private void start(AttentionShape ofShape, Matrix ofQ, Matrix ofK, Matrix ofV, Matrix ofOut) {
        shape = ofShape;
        q = ofQ;
        k = ofK;
        v = ofV;
        out = ofOut;
    }

    private void run(Phase next, int units, int minUnits) {
        phase = next;
        compute.team().run(units, minUnits, this);
    }

    private void end() {
        start(NO_SHAPE, NONE, NONE, NONE, NONE);
        logSumExp = null;
        gradOut = NONE;
        along = NONE;
        gradQ = NONE;
        gradK = NONE;
        gradV = NONE;
        partial = NONE;
        release();
    }

    /// [Attention#forward] and [Attention#forwardCached].
    ///
    /// @param sequenceRows rows of q of a sequence
    /// @param sequenceKeys keys of a sequence
    /// @param before keys before the one of a sequence's first row
    void forward(
            AttentionShape ofShape,
            Matrix ofQ,
            Matrix ofK,
            Matrix ofV,
            Matrix ofOut,
            @Nullable Matrix ofLogSumExp,
            int batch,
            int sequenceRows,
            int sequenceKeys,
            int before) {
        start(ofShape, ofQ, ofK, ofV, ofOut);
        logSumExp = ofLogSumExp;
        rows = sequenceRows;
        keys = sequenceKeys;
        keysBefore = before;
        tiles = (sequenceRows + ROWS - 1) / ROWS;
        try {
            run(Phase.FORWARD, batch * tiles * shape.keyValueHeads(), 1);
        } finally {
            end();
        }
    }

    /// One new token: each unit is a group of heads, which read their keys and values together, or one head where there
    /// are too few groups to share the work evenly. A head's result is the same either way.
    void step(AttentionShape ofShape, Matrix ofQ, Matrix ofKeys, Matrix ofValues, int known, Matrix ofOut) {
        start(ofShape, ofQ, ofKeys, ofValues, ofOut);
        keys = known;
        int threads = compute.team().size();
        headsOfUnit = threads == 1 || shape.keyValueHeads() >= 4 * threads ? shape.group() : 1;
        try {
            run(Phase.STEP, shape.heads() / headsOfUnit, 1);
        } finally {
            end();
        }
    }

    /// [Attention#backward], without the sum over the parts of gradQ.
    ///
    /// @param ofAlong (tokens, heads), overwritten with the inner products of gradOut and out
    /// @param partsOfKeys into how many parts the keys of a sequence are split
    /// @param ofPartial ((parts - 1) * tokens, as q): gradQ of all parts but the first
    void backward(
            AttentionShape ofShape,
            Matrix ofQ,
            Matrix ofK,
            Matrix ofV,
            Matrix ofOut,
            Matrix ofLogSumExp,
            Matrix ofGradOut,
            Matrix ofAlong,
            Matrix ofGradQ,
            Matrix ofGradK,
            Matrix ofGradV,
            Matrix ofPartial,
            int batch,
            int sequenceRows,
            int partsOfKeys) {
        start(ofShape, ofQ, ofK, ofV, ofOut);
        logSumExp = ofLogSumExp;
        gradOut = ofGradOut;
        along = ofAlong;
        gradQ = ofGradQ;
        gradK = ofGradK;
        gradV = ofGradV;
        partial = ofPartial;
        rows = sequenceRows;
        parts = partsOfKeys;
        try {
            run(Phase.ROW_PRODUCTS, batch * sequenceRows, Shapes.minRows(shape.queryColumns()));
            run(Phase.BACKWARD, batch * shape.keyValueHeads() * parts, 1);
        } finally {
            end();
        }
    }

    @Override
    public void run(int from, int to, int worker) {
        if (phase == Phase.ROW_PRODUCTS) {
            KERNEL.rowProducts(shape, gradOut, out, along, compute.scratch(worker, 0, 16), from, to);
            return;
        }
        for (int unit = from; unit < to; unit++) {
            switch (phase) {
                case FORWARD -> forwardUnit(unit, worker);
                case STEP -> {
                    int head = unit * headsOfUnit;
                    KERNEL.attend(compute, worker, shape, q, k, v, keys, out, head, head + headsOfUnit);
                }
                case BACKWARD -> backwardUnit(unit, worker);
                case ROW_PRODUCTS -> throw new IllegalStateException("done by rows");
            }
        }
    }

    private void forwardUnit(int unit, int worker) {
        int heads = shape.keyValueHeads();
        int sequence = unit / (tiles * heads) * rows;
        // Late tiles see more keys: they come first, so that the last unit is a short one.
        int rowFrom = (tiles - 1 - unit / heads % tiles) * ROWS;
        int rowTo = Math.min(rows, rowFrom + ROWS);
        int head = unit % heads;
        KERNEL.forward(
                compute,
                worker,
                shape,
                q,
                sequence,
                k,
                v,
                sequence,
                keys,
                keysBefore,
                out,
                logSumExp,
                head,
                rowFrom,
                rowTo);
    }

    private void backwardUnit(int unit, int worker) {
        Matrix sums = logSumExp;
        if (sums == null) {
            throw new IllegalStateException("no backward is running");
        }
        int heads = shape.keyValueHeads();
        int sequence = unit / (heads * parts) * rows;
        int part = unit % parts;
        KERNEL.backward(
                compute,
                worker,
                shape,
                q,
                k,
                v,
                sums,
                along,
                gradOut,
                sequence,
                rows,
                unit / parts % heads,
                Attention.boundary(shape, part, parts, rows),
                Attention.boundary(shape, part + 1, parts, rows),
                part == 0 ? gradQ : partial,
                part == 0 ? sequence : (part - 1) * q.rows() + sequence,
                gradK,
                gradV);
    }
}
