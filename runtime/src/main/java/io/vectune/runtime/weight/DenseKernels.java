package io.vectune.runtime.weight;

import io.vectune.runtime.compute.KernelTier;
import io.vectune.runtime.tensor.DType;
import java.lang.foreign.MemorySegment;

/// The kernels of a dense weight, in a scalar and a vector version: widening to f32, and the product with one token.
interface DenseKernels {
    /// Rows that one pass of [#product] multiplies, so that x is loaded once for all of them.
    int ROWS = 4;

    /// Widens numbers to f32, exactly: target[offset + i] = source[i].
    ///
    /// @param from byte offset of the first number
    void decode(DType dtype, MemorySegment source, long from, int count, float[] target, int offset);

    /// Brings one token into the order that [#product] reads: as it is for F32; for 16-bit numbers, which are loaded as
    /// words of two, the even columns of each block of two vectors before its odd columns.
    void prepare(DType dtype, MemorySegment source, long from, int count, float[] target, int offset);

    /// Products of up to [#ROWS] rows with one token: y[r] = sum_i W[r, i] x[i], each row summed lane by lane, then
    /// across the lanes in a fixed order; the same bits whatever the number of rows.
    ///
    /// @param x one token as [#prepare] left it
    /// @param from byte offset of the first row; rows follow each other without gaps
    /// @param to byte offset of y[0]
    void product(
            DType dtype,
            MemorySegment weight,
            long from,
            int rows,
            int columns,
            float[] x,
            int xOffset,
            MemorySegment y,
            long to);

    /// The kernels of the tier in use.
    static DenseKernels active() {
        return KernelTier.active() == KernelTier.VECTOR ? new DenseVector() : new DenseScalar();
    }
}
