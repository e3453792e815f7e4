package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.RegisterTiles.WIDE;

import io.vectune.runtime.compute.VectorWidth;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/// [NarrowKernels] in the Vector API: the same chains as [NarrowScalar], the same bits.
///
/// Registers: 12 x 1 takes 12 + 1 + 1 = 14, 4 x 2 takes 8 + 2 + 1 = 11 of at least 16; 8 x 2 takes 19 of the 32 that
/// some processors have. Loads per fused multiply-add: 13 / 12, 6 / 8 and 10 / 16, with two loads and two multiply-adds
/// a cycle no more than 8 % above what the arithmetic takes; but a load across two cache lines counts twice, and 8 sums
/// only just hide the latency of a multiply-add.
final class NarrowVector implements NarrowKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final int LANES = F32.length();

    // Sums end with a product by one, the same bits: of a loop variable C2 does not know the class at first, and
    // `sum.intoArray` is compiled for every width that the process has used, with an object each round of the loop.
    private static final FloatVector ONE = FloatVector.broadcast(F32, 1);
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;

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
        int vectors = F32.loopBound(columns);
        for (int row = 0; row < rows; row++) {
            long at = from + 4 * (row * stride);
            int to = offset + row * targetStride;
            for (int column = 0; column < vectors; column += LANES) {
                FloatVector.fromMemorySegment(F32, source, at + 4L * column, LITTLE).intoArray(target, to + column);
            }
            for (int column = vectors; column < columns; column++) {
                target[to + column] = source.get(Tensor.FLOAT, at + 4L * column);
            }
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
            long at = to + 4 * (row * stride);
            if (accumulate) {
                add(source, row * sourceStride, alpha, target, at, columns);
            } else {
                put(source, row * sourceStride, alpha, target, at, columns);
            }
        }
    }

    private static void put(float[] source, int from, float alpha, MemorySegment target, long at, int columns) {
        int vectors = F32.loopBound(columns);
        for (int column = 0; column < vectors; column += LANES) {
            FloatVector.fromArray(F32, source, from + column)
                    .mul(alpha)
                    .intoMemorySegment(target, at + 4L * column, LITTLE);
        }
        for (int column = vectors; column < columns; column++) {
            target.set(Tensor.FLOAT, at + 4L * column, alpha * source[from + column]);
        }
    }

    private static void add(float[] source, int from, float alpha, MemorySegment target, long at, int columns) {
        int vectors = F32.loopBound(columns);
        for (int column = 0; column < vectors; column += LANES) {
            FloatVector.fromArray(F32, source, from + column)
                    .mul(alpha)
                    .add(FloatVector.fromMemorySegment(F32, target, at + 4L * column, LITTLE))
                    .intoMemorySegment(target, at + 4L * column, LITTLE);
        }
        for (int column = vectors; column < columns; column++) {
            float sum = target.get(Tensor.FLOAT, at + 4L * column) + alpha * source[from + column];
            target.set(Tensor.FLOAT, at + 4L * column, sum);
        }
    }

    @Override
    public void reduce(int depth, float[] x, int xStride, float[] panel, int panelAt, int width, float[] c) {
        for (int v = 0; v < width; v += LANES) {
            reduceVector(depth, x, xStride, panel, panelAt + v, width, c, v);
        }
    }

    private static void reduceVector(
            int depth, float[] x, int xStride, float[] panel, int panelAt, int width, float[] c, int at) {
        FloatVector c0 = FloatVector.fromArray(F32, c, at);
        FloatVector c1 = FloatVector.fromArray(F32, c, at + width);
        FloatVector c2 = FloatVector.fromArray(F32, c, at + 2 * width);
        FloatVector c3 = FloatVector.fromArray(F32, c, at + 3 * width);
        FloatVector c4 = FloatVector.fromArray(F32, c, at + 4 * width);
        FloatVector c5 = FloatVector.fromArray(F32, c, at + 5 * width);
        FloatVector c6 = FloatVector.fromArray(F32, c, at + 6 * width);
        FloatVector c7 = FloatVector.fromArray(F32, c, at + 7 * width);
        FloatVector c8 = FloatVector.fromArray(F32, c, at + 8 * width);
        FloatVector c9 = FloatVector.fromArray(F32, c, at + 9 * width);
        FloatVector c10 = FloatVector.fromArray(F32, c, at + 10 * width);
        FloatVector c11 = FloatVector.fromArray(F32, c, at + 11 * width);
        for (int k = 0, p = panelAt; k < depth; k++, p += width) {
            FloatVector b = FloatVector.fromArray(F32, panel, p);
            c0 = FloatVector.broadcast(F32, x[k]).fma(b, c0);
            c1 = FloatVector.broadcast(F32, x[k + xStride]).fma(b, c1);
            c2 = FloatVector.broadcast(F32, x[k + 2 * xStride]).fma(b, c2);
            c3 = FloatVector.broadcast(F32, x[k + 3 * xStride]).fma(b, c3);
            c4 = FloatVector.broadcast(F32, x[k + 4 * xStride]).fma(b, c4);
            c5 = FloatVector.broadcast(F32, x[k + 5 * xStride]).fma(b, c5);
            c6 = FloatVector.broadcast(F32, x[k + 6 * xStride]).fma(b, c6);
            c7 = FloatVector.broadcast(F32, x[k + 7 * xStride]).fma(b, c7);
            c8 = FloatVector.broadcast(F32, x[k + 8 * xStride]).fma(b, c8);
            c9 = FloatVector.broadcast(F32, x[k + 9 * xStride]).fma(b, c9);
            c10 = FloatVector.broadcast(F32, x[k + 10 * xStride]).fma(b, c10);
            c11 = FloatVector.broadcast(F32, x[k + 11 * xStride]).fma(b, c11);
        }
        ONE.mul(c0).intoArray(c, at);
        ONE.mul(c1).intoArray(c, at + width);
        ONE.mul(c2).intoArray(c, at + 2 * width);
        ONE.mul(c3).intoArray(c, at + 3 * width);
        ONE.mul(c4).intoArray(c, at + 4 * width);
        ONE.mul(c5).intoArray(c, at + 5 * width);
        ONE.mul(c6).intoArray(c, at + 6 * width);
        ONE.mul(c7).intoArray(c, at + 7 * width);
        ONE.mul(c8).intoArray(c, at + 8 * width);
        ONE.mul(c9).intoArray(c, at + 9 * width);
        ONE.mul(c10).intoArray(c, at + 10 * width);
        ONE.mul(c11).intoArray(c, at + 11 * width);
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
        for (int j = 0; j < columns; j += 2 * LANES) {
            for (int row = 0; row < rows; row += ROWS) {
                expandTile(rank, h, row * rank, panel, panelAt + j, panelStride, y, row * yStride + j, yStride);
            }
        }
    }

    private static void expandTile(
            int rank,
            float[] h,
            int from,
            float[] panel,
            int panelAt,
            int panelStride,
            float[] y,
            int at,
            int yStride) {
        FloatVector c0x0 = FloatVector.fromArray(F32, y, at);
        FloatVector c0x1 = FloatVector.fromArray(F32, y, at + LANES);
        FloatVector c1x0 = FloatVector.fromArray(F32, y, at + yStride);
        FloatVector c1x1 = FloatVector.fromArray(F32, y, at + yStride + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, y, at + 2 * yStride);
        FloatVector c2x1 = FloatVector.fromArray(F32, y, at + 2 * yStride + LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, y, at + 3 * yStride);
        FloatVector c3x1 = FloatVector.fromArray(F32, y, at + 3 * yStride + LANES);
        for (int k = 0, p = panelAt; k < rank; k++, p += panelStride) {
            FloatVector b0 = FloatVector.fromArray(F32, panel, p);
            FloatVector b1 = FloatVector.fromArray(F32, panel, p + LANES);
            FloatVector a = FloatVector.broadcast(F32, h[from + k]);
            c0x0 = a.fma(b0, c0x0);
            c0x1 = a.fma(b1, c0x1);
            a = FloatVector.broadcast(F32, h[from + k + rank]);
            c1x0 = a.fma(b0, c1x0);
            c1x1 = a.fma(b1, c1x1);
            a = FloatVector.broadcast(F32, h[from + k + 2 * rank]);
            c2x0 = a.fma(b0, c2x0);
            c2x1 = a.fma(b1, c2x1);
            a = FloatVector.broadcast(F32, h[from + k + 3 * rank]);
            c3x0 = a.fma(b0, c3x0);
            c3x1 = a.fma(b1, c3x1);
        }
        ONE.mul(c0x0).intoArray(y, at);
        ONE.mul(c0x1).intoArray(y, at + LANES);
        ONE.mul(c1x0).intoArray(y, at + yStride);
        ONE.mul(c1x1).intoArray(y, at + yStride + LANES);
        ONE.mul(c2x0).intoArray(y, at + 2 * yStride);
        ONE.mul(c2x1).intoArray(y, at + 2 * yStride + LANES);
        ONE.mul(c3x0).intoArray(y, at + 3 * yStride);
        ONE.mul(c3x1).intoArray(y, at + 3 * yStride + LANES);
    }

    @Override
    public void outer(int tokens, int columns, int rank, float[] h, int hAt, float[] x, float[] g) {
        // The ranks inside: two vectors of x of all tokens stay in the first-level cache for them.
        for (int j = 0; j < columns; j += 2 * LANES) {
            int k = 0;
            for (; WIDE && k <= rank - 8; k += 8) {
                outerTile8(tokens, h, hAt + k, x, j, g, k * OUTER_STRIDE + j);
            }
            for (; k < rank; k += ROWS) {
                outerTile4(tokens, h, hAt + k, x, j, g, k * OUTER_STRIDE + j);
            }
        }
    }

    private static void outerTile8(int tokens, float[] h, int hAt, float[] x, int xAt, float[] g, int at) {
        FloatVector c0x0 = FloatVector.fromArray(F32, g, at);
        FloatVector c0x1 = FloatVector.fromArray(F32, g, at + LANES);
        FloatVector c1x0 = FloatVector.fromArray(F32, g, at + OUTER_STRIDE);
        FloatVector c1x1 = FloatVector.fromArray(F32, g, at + OUTER_STRIDE + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, g, at + 2 * OUTER_STRIDE);
        FloatVector c2x1 = FloatVector.fromArray(F32, g, at + 2 * OUTER_STRIDE + LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, g, at + 3 * OUTER_STRIDE);
        FloatVector c3x1 = FloatVector.fromArray(F32, g, at + 3 * OUTER_STRIDE + LANES);
        FloatVector c4x0 = FloatVector.fromArray(F32, g, at + 4 * OUTER_STRIDE);
        FloatVector c4x1 = FloatVector.fromArray(F32, g, at + 4 * OUTER_STRIDE + LANES);
        FloatVector c5x0 = FloatVector.fromArray(F32, g, at + 5 * OUTER_STRIDE);
        FloatVector c5x1 = FloatVector.fromArray(F32, g, at + 5 * OUTER_STRIDE + LANES);
        FloatVector c6x0 = FloatVector.fromArray(F32, g, at + 6 * OUTER_STRIDE);
        FloatVector c6x1 = FloatVector.fromArray(F32, g, at + 6 * OUTER_STRIDE + LANES);
        FloatVector c7x0 = FloatVector.fromArray(F32, g, at + 7 * OUTER_STRIDE);
        FloatVector c7x1 = FloatVector.fromArray(F32, g, at + 7 * OUTER_STRIDE + LANES);
        for (int t = 0; t < tokens; t++) {
            int b = xAt + t * OUTER_STRIDE;
            int p = hAt + t * RANK_STRIDE;
            FloatVector b0 = FloatVector.fromArray(F32, x, b);
            FloatVector b1 = FloatVector.fromArray(F32, x, b + LANES);
            FloatVector a = FloatVector.broadcast(F32, h[p]);
            c0x0 = a.fma(b0, c0x0);
            c0x1 = a.fma(b1, c0x1);
            a = FloatVector.broadcast(F32, h[p + 1]);
            c1x0 = a.fma(b0, c1x0);
            c1x1 = a.fma(b1, c1x1);
            a = FloatVector.broadcast(F32, h[p + 2]);
            c2x0 = a.fma(b0, c2x0);
            c2x1 = a.fma(b1, c2x1);
            a = FloatVector.broadcast(F32, h[p + 3]);
            c3x0 = a.fma(b0, c3x0);
            c3x1 = a.fma(b1, c3x1);
            a = FloatVector.broadcast(F32, h[p + 4]);
            c4x0 = a.fma(b0, c4x0);
            c4x1 = a.fma(b1, c4x1);
            a = FloatVector.broadcast(F32, h[p + 5]);
            c5x0 = a.fma(b0, c5x0);
            c5x1 = a.fma(b1, c5x1);
            a = FloatVector.broadcast(F32, h[p + 6]);
            c6x0 = a.fma(b0, c6x0);
            c6x1 = a.fma(b1, c6x1);
            a = FloatVector.broadcast(F32, h[p + 7]);
            c7x0 = a.fma(b0, c7x0);
            c7x1 = a.fma(b1, c7x1);
        }
        ONE.mul(c0x0).intoArray(g, at);
        ONE.mul(c0x1).intoArray(g, at + LANES);
        ONE.mul(c1x0).intoArray(g, at + OUTER_STRIDE);
        ONE.mul(c1x1).intoArray(g, at + OUTER_STRIDE + LANES);
        ONE.mul(c2x0).intoArray(g, at + 2 * OUTER_STRIDE);
        ONE.mul(c2x1).intoArray(g, at + 2 * OUTER_STRIDE + LANES);
        ONE.mul(c3x0).intoArray(g, at + 3 * OUTER_STRIDE);
        ONE.mul(c3x1).intoArray(g, at + 3 * OUTER_STRIDE + LANES);
        ONE.mul(c4x0).intoArray(g, at + 4 * OUTER_STRIDE);
        ONE.mul(c4x1).intoArray(g, at + 4 * OUTER_STRIDE + LANES);
        ONE.mul(c5x0).intoArray(g, at + 5 * OUTER_STRIDE);
        ONE.mul(c5x1).intoArray(g, at + 5 * OUTER_STRIDE + LANES);
        ONE.mul(c6x0).intoArray(g, at + 6 * OUTER_STRIDE);
        ONE.mul(c6x1).intoArray(g, at + 6 * OUTER_STRIDE + LANES);
        ONE.mul(c7x0).intoArray(g, at + 7 * OUTER_STRIDE);
        ONE.mul(c7x1).intoArray(g, at + 7 * OUTER_STRIDE + LANES);
    }

    private static void outerTile4(int tokens, float[] h, int hAt, float[] x, int xAt, float[] g, int at) {
        FloatVector c0x0 = FloatVector.fromArray(F32, g, at);
        FloatVector c0x1 = FloatVector.fromArray(F32, g, at + LANES);
        FloatVector c1x0 = FloatVector.fromArray(F32, g, at + OUTER_STRIDE);
        FloatVector c1x1 = FloatVector.fromArray(F32, g, at + OUTER_STRIDE + LANES);
        FloatVector c2x0 = FloatVector.fromArray(F32, g, at + 2 * OUTER_STRIDE);
        FloatVector c2x1 = FloatVector.fromArray(F32, g, at + 2 * OUTER_STRIDE + LANES);
        FloatVector c3x0 = FloatVector.fromArray(F32, g, at + 3 * OUTER_STRIDE);
        FloatVector c3x1 = FloatVector.fromArray(F32, g, at + 3 * OUTER_STRIDE + LANES);
        for (int t = 0; t < tokens; t++) {
            int b = xAt + t * OUTER_STRIDE;
            int p = hAt + t * RANK_STRIDE;
            FloatVector b0 = FloatVector.fromArray(F32, x, b);
            FloatVector b1 = FloatVector.fromArray(F32, x, b + LANES);
            FloatVector a = FloatVector.broadcast(F32, h[p]);
            c0x0 = a.fma(b0, c0x0);
            c0x1 = a.fma(b1, c0x1);
            a = FloatVector.broadcast(F32, h[p + 1]);
            c1x0 = a.fma(b0, c1x0);
            c1x1 = a.fma(b1, c1x1);
            a = FloatVector.broadcast(F32, h[p + 2]);
            c2x0 = a.fma(b0, c2x0);
            c2x1 = a.fma(b1, c2x1);
            a = FloatVector.broadcast(F32, h[p + 3]);
            c3x0 = a.fma(b0, c3x0);
            c3x1 = a.fma(b1, c3x1);
        }
        ONE.mul(c0x0).intoArray(g, at);
        ONE.mul(c0x1).intoArray(g, at + LANES);
        ONE.mul(c1x0).intoArray(g, at + OUTER_STRIDE);
        ONE.mul(c1x1).intoArray(g, at + OUTER_STRIDE + LANES);
        ONE.mul(c2x0).intoArray(g, at + 2 * OUTER_STRIDE);
        ONE.mul(c2x1).intoArray(g, at + 2 * OUTER_STRIDE + LANES);
        ONE.mul(c3x0).intoArray(g, at + 3 * OUTER_STRIDE);
        ONE.mul(c3x1).intoArray(g, at + 3 * OUTER_STRIDE + LANES);
    }
}
