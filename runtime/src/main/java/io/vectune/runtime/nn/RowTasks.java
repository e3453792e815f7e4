package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// The row operations of one session.
final class RowTasks extends SessionTask {
    private enum Operation {
        NONE,
        NORM,
        NORM_UNSAVED,
        NORM_BACKWARD,
        GATE,
        GATE_BACKWARD,
        ADD_SCALED,
        ADD_BIAS,
        SCALE,
        SOFTMAX,
        ROTATE
    }

    private static final RmsNormKernel NORM = RmsNormKernel.active();
    private static final SwiGluKernel GATE = SwiGluKernel.active();
    private static final ElementwiseKernel ELEMENTWISE = ElementwiseKernel.active();
    private static final SoftmaxKernel SOFTMAX = SoftmaxKernel.active();
    private static final RotaryKernel ROTARY = RotaryKernel.active();
    private static final float[] NO_FLOATS = {};
    private static final int[] NO_POSITIONS = {};

    private final Compute compute;

    // The operation that runs: written before a region, read by its workers.
    private Operation operation = Operation.NONE;
    private Matrix a = NONE;
    private Matrix b = NONE;
    private Matrix c = NONE;
    private Matrix d = NONE;
    private Matrix e = NONE;
    private float number;
    private boolean flag;
    private int headDim;
    private float[] cosines = NO_FLOATS;
    private float[] sines = NO_FLOATS;
    private int[] positions = NO_POSITIONS;

    private RowTasks(Compute compute) {
        this.compute = compute;
    }

    /// The session's task, taken until the operation is done.
    static RowTasks take(Compute compute) {
        return take(compute, RowTasks.class, RowTasks::new);
    }

    /// [RmsNorm#forward].
    void norm(Matrix x, Matrix weight, float eps, Matrix y, Matrix inverseRms) {
        set(x, weight, y, inverseRms, NONE);
        number = eps;
        run(Operation.NORM);
    }

    /// [RmsNorm#forward] that keeps nothing.
    void norm(Matrix x, Matrix weight, float eps, Matrix y) {
        set(x, weight, y, NONE, NONE);
        number = eps;
        run(Operation.NORM_UNSAVED);
    }

    /// [RmsNorm#backward] without the gradient of the weight.
    void normBackward(Matrix x, Matrix weight, Matrix inverseRms, Matrix gradY, Matrix gradX, boolean accumulate) {
        set(x, weight, inverseRms, gradY, gradX);
        flag = accumulate;
        run(Operation.NORM_BACKWARD);
    }

    /// [SwiGlu#forward].
    void gate(Matrix gate, Matrix up, Matrix y) {
        set(gate, up, y, NONE, NONE);
        run(Operation.GATE);
    }

    /// [SwiGlu#backward].
    void gateBackward(Matrix gate, Matrix up, Matrix gradY, Matrix gradGate, Matrix gradUp) {
        set(gate, up, gradY, gradGate, gradUp);
        run(Operation.GATE_BACKWARD);
    }

    /// [Elementwise#addScaled].
    void addScaled(float alpha, Matrix x, Matrix y) {
        set(x, y, NONE, NONE, NONE);
        number = alpha;
        run(Operation.ADD_SCALED);
    }

    /// [Elementwise#addBias].
    void addBias(Matrix bias, Matrix y) {
        set(y, bias, NONE, NONE, NONE);
        run(Operation.ADD_BIAS);
    }

    /// [Elementwise#scale].
    void scale(float alpha, Matrix y) {
        set(y, NONE, NONE, NONE, NONE);
        number = alpha;
        run(Operation.SCALE);
    }

    /// [Softmax#apply].
    void softmax(Matrix x) {
        set(x, NONE, NONE, NONE, NONE);
        run(Operation.SOFTMAX);
    }

    /// [RotaryTable#apply].
    void rotate(Matrix x, int ofHeadDim, float[] ofCosines, float[] ofSines, int[] ofPositions, boolean inverse) {
        set(x, NONE, NONE, NONE, NONE);
        headDim = ofHeadDim;
        cosines = ofCosines;
        sines = ofSines;
        positions = ofPositions;
        flag = inverse;
        run(Operation.ROTATE);
    }

    private void set(Matrix first, Matrix second, Matrix third, Matrix fourth, Matrix fifth) {
        a = first;
        b = second;
        c = third;
        d = fourth;
        e = fifth;
    }

    private void run(Operation next) {
        operation = next;
        try {
            compute.team().run(a.rows(), Shapes.minRows(a.columns()), this);
        } finally {
            set(NONE, NONE, NONE, NONE, NONE);
            cosines = NO_FLOATS;
            sines = NO_FLOATS;
            positions = NO_POSITIONS;
            operation = Operation.NONE;
            release();
        }
    }

    @Override
    public void run(int from, int to, int worker) {
        switch (operation) {
            case NONE -> throw new IllegalStateException("no operation is running");
            case NORM -> NORM.forward(a, b, number, c, d, compute.scratch(worker, 0, RmsNormKernel.LANES), from, to);
            case NORM_UNSAVED ->
                    NORM.forward(a, b, number, c, null, compute.scratch(worker, 0, RmsNormKernel.LANES), from, to);
            case NORM_BACKWARD ->
                    NORM.backward(a, b, c, d, e, flag, compute.scratch(worker, 0, RmsNormKernel.LANES), from, to);
            case GATE -> GATE.forward(a, b, c, compute.scratch(worker, 0, SwiGluKernel.SCRATCH), from, to);
            case GATE_BACKWARD ->
                    GATE.backward(a, b, c, d, e, compute.scratch(worker, 0, SwiGluKernel.SCRATCH), from, to);
            case ADD_SCALED -> ELEMENTWISE.addScaled(number, a, b, from, to);
            case ADD_BIAS -> ELEMENTWISE.addBias(b, a, from, to);
            case SCALE -> ELEMENTWISE.scale(number, a, from, to);
            case SOFTMAX -> {
                float[] scratch = compute.scratch(worker, 0, SoftmaxKernel.SCRATCH);
                for (int row = from; row < to; row++) {
                    SOFTMAX.softmax(a, row, scratch);
                }
            }
            case ROTATE -> ROTARY.rotate(a, headDim, cosines, sines, positions, flag, from, to);
        }
    }
}
