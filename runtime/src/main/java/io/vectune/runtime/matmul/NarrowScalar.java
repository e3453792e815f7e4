package io.vectune.runtime.matmul;

import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// [NarrowKernels] in plain Java: the reference.
final class NarrowScalar implements NarrowKernels {
    /// Widths are rounded to the same number as with the widest vectors.
    private static final int LANES = 16;

    @Override
    public int lanes() {
        return LANES;
    }

    @Override
    public void load(
            MemorySegment source,
            long from,
            long stride,
            int rows,
            int columns,
            float[] target,
            int offset,
            int targetStride) {
        for (int row = 0; row < rows; row++) {
            MemorySegment.copy(
                    source, Tensor.FLOAT, from + 4 * (row * stride), target, offset + row * targetStride, columns);
        }
    }

    @Override
    public void store(
            float[] source,
            int sourceStride,
            float alpha,
            MemorySegment target,
            long to,
            long stride,
            int rows,
            int columns,
            boolean accumulate) {
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                long at = to + 4 * (row * stride + column);
                float value = alpha * source[row * sourceStride + column];
                target.set(Tensor.FLOAT, at, accumulate ? target.get(Tensor.FLOAT, at) + value : value);
            }
        }
    }

    @Override
    public void reduce(int depth, float[] x, int xStride, float[] panel, int panelAt, int width, float[] c) {
        for (int row = 0; row < REDUCE_ROWS; row++) {
            for (int j = 0; j < width; j++) {
                float sum = c[row * width + j];
                for (int k = 0; k < depth; k++) {
                    sum = Math.fma(x[row * xStride + k], panel[panelAt + k * width + j], sum);
                }
                c[row * width + j] = sum;
            }
        }
    }

    @Override
    public void expand(
            int rows,
            int columns,
            int rank,
            float[] h,
            float[] panel,
            int panelAt,
            int panelStride,
            float[] y,
            int yStride) {
        for (int row = 0; row < rows; row++) {
            for (int j = 0; j < columns; j++) {
                float sum = y[row * yStride + j];
                for (int k = 0; k < rank; k++) {
                    sum = Math.fma(h[row * rank + k], panel[panelAt + k * panelStride + j], sum);
                }
                y[row * yStride + j] = sum;
            }
        }
    }

    @Override
    public void outer(int tokens, int columns, int rank, float[] h, int hAt, float[] x, float[] g) {
        for (int k = 0; k < rank; k++) {
            for (int j = 0; j < columns; j++) {
                float sum = g[k * OUTER_STRIDE + j];
                for (int t = 0; t < tokens; t++) {
                    sum = Math.fma(h[hAt + t * RANK_STRIDE + k], x[t * OUTER_STRIDE + j], sum);
                }
                g[k * OUTER_STRIDE + j] = sum;
            }
        }
    }
}
