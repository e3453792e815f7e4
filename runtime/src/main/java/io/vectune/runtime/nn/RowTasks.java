package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.concurrent.atomic.AtomicBoolean;

/// The row operations of one session as one reusable task, so that a call allocates nothing.
///
/// A session runs one operation at a time. One inside a parallel region of the same session finds the task taken and
/// gets its own.
final class RowTasks implements ThreadTeam.Task {
    private enum Operation {
        NONE,
        NORM,
        NORM_UNSAVED,
        NORM_BACKWARD,
        GATE,
        GATE_BACKWARD,
        ADD_SCALED
    }

    private static final Matrix NONE = Matrix.allocate(Arena.global(), 1, 1);
    private static final RmsNormKernel NORM = RmsNormKernel.active();
    private static final SwiGluKernel GATE = SwiGluKernel.active();
    private static final ElementwiseKernel ELEMENTWISE = ElementwiseKernel.active();

    private final Compute compute;
    private final AtomicBoolean taken = new AtomicBoolean();

    // The operation that runs: written before a region, read by its workers.
    private Operation operation = Operation.NONE;
    private Matrix a = NONE;
    private Matrix b = NONE;
    private Matrix c = NONE;
    private Matrix d = NONE;
    private Matrix e = NONE;
    private float number;
    private boolean flag;

    private RowTasks(Compute compute) {
        this.compute = compute;
    }

    /// The session's task, taken until the operation is done.
    static RowTasks take(Compute compute) {
        RowTasks own = compute.resource(RowTasks.class, RowTasks::new);
        if (own.taken.compareAndSet(false, true)) {
            return own;
        }
        RowTasks spare = new RowTasks(compute);
        spare.taken.set(true);
        return spare;
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
            operation = Operation.NONE;
            taken.set(false);
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
        }
    }
}
