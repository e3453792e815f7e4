package io.vectune.runtime.nn;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;

/// Rotary embedding of neighboring elements over positions with several axes, as image transformers use it: the head is
/// divided among the axes, and element 2 i of an axis is rotated together with element 2 i + 1.
///
///     angle        = id_axis theta^(-2 i / axisDim)        computed in double, cos and sin rounded to f32
///     y_{2i}       = x_{2i} cos - x_{2i+1} sin
///     y_{2i+1}     = x_{2i+1} cos + x_{2i} sin
///
/// The table belongs to one sequence: row t of x has the position of row t of the table. Immutable.
public final class RotaryPairs {
    private static final RotaryPairsKernel KERNEL = RotaryPairsKernel.active();

    private final int rows;
    private final int headDim;

    /// (rows, headDim): each cosine twice.
    private final float[] cosines;

    /// (rows, headDim): each sine twice, the first time negative.
    private final float[] sines;

    /// @param theta base of the frequencies
    /// @param ids (rows, axes), the position of each row along each axis; whole numbers or not
    /// @param axisDims elements of the head that belong to each axis, even; their sum is headDim
    public RotaryPairs(double theta, Matrix ids, int... axisDims) {
        if (ids.columns() != axisDims.length) {
            throw new IllegalArgumentException(
                    "ids: expected " + axisDims.length + " columns, one an axis, found " + ids.columns());
        }
        int dim = 0;
        for (int axisDim : axisDims) {
            if (axisDim < 2 || axisDim % 2 != 0) {
                throw new IllegalArgumentException("axisDims: expected even numbers of at least 2, found " + axisDim);
            }
            dim += axisDim;
        }
        this.rows = ids.rows();
        this.headDim = dim;
        this.cosines = new float[Math.multiplyExact(rows, dim)];
        this.sines = new float[cosines.length];
        for (int row = 0; row < rows; row++) {
            int at = row * dim;
            for (int axis = 0; axis < axisDims.length; axis++) {
                for (int i = 0; i < axisDims[axis]; i += 2) {
                    double angle = ids.get(row, axis) * (1 / Math.pow(theta, (double) i / axisDims[axis]));
                    cosines[at] = (float) Math.cos(angle);
                    cosines[at + 1] = cosines[at];
                    sines[at + 1] = (float) Math.sin(angle);
                    sines[at] = -sines[at + 1];
                    at += 2;
                }
            }
        }
    }

    /// Rows of the sequence.
    public int rows() {
        return rows;
    }

    /// Rotates every head of every row of x in place.
    ///
    /// @param x (rows, heads * headDim)
    /// @param inverse rotates back: the transpose, which is the backward pass
    public void apply(Compute compute, Matrix x, boolean inverse) {
        if (x.columns() % headDim != 0) {
            throw new IllegalArgumentException(
                    "x: expected columns in multiples of headDim " + headDim + ", found " + x.columns());
        }
        Shapes.require("x", x, rows, x.columns());
        compute.team()
                .run(
                        rows,
                        Shapes.minRows(x.columns()),
                        (from, to, worker) -> KERNEL.rotate(x, headDim, cosines, sines, inverse, from, to));
    }
}
