package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.VectorWidth;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/// The Vector API kernels: same chains of operations as [ScalarTiles], same bits.
final class VectorTiles implements TileKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final int LANES = F32.length();
    private static final ByteOrder LITTLE = ByteOrder.LITTLE_ENDIAN;

    private static final int BLOCK = BlockTranspose.BLOCK;

    @Override
    public int tileRows() {
        return RegisterTiles.ROWS;
    }

    @Override
    public int panelWidth() {
        return 2 * LANES;
    }

    @Override
    public int narrowWidth() {
        return LANES;
    }

    @Override
    public void multiply(
            int rows,
            int depth,
            float[] left,
            int leftOffset,
            float[] right,
            int rightOffset,
            int width,
            float[] c,
            int cOffset,
            float[] ahead,
            int aheadAt) {
        if (width == 2 * LANES) {
            if (RegisterTiles.WIDE && rows > 6) {
                RegisterTiles.tile8x2(depth, left, leftOffset, right, rightOffset, c, cOffset, ahead, aheadAt);
            } else if (rows > 4) {
                RegisterTiles.tile6x2(depth, left, leftOffset, right, rightOffset, c, cOffset, ahead, aheadAt);
            } else {
                RegisterTiles.tile4x2(depth, left, leftOffset, right, rightOffset, c, cOffset);
            }
        } else {
            if (RegisterTiles.WIDE && rows > 6) {
                RegisterTiles.tile8x1(depth, left, leftOffset, right, rightOffset, c, cOffset);
            } else if (rows > 4) {
                RegisterTiles.tile6x1(depth, left, leftOffset, right, rightOffset, c, cOffset);
            } else {
                RegisterTiles.tile4x1(depth, left, leftOffset, right, rightOffset, c, cOffset);
            }
        }
    }

    @Override
    public void transpose(
            float[] source, int from, int stride, int rows, int columns, float[] target, int offset, int targetStride) {
        int blockRows = rows / BLOCK * BLOCK;
        int blockColumns = columns / BLOCK * BLOCK;
        for (int row = 0; row < blockRows; row += BLOCK) {
            int at = from + row * stride;
            BlockTranspose.copy(source, at, stride, blockColumns / BLOCK, target, offset + row, targetStride);
        }
        for (int row = 0; row < rows; row++) {
            int at = from + row * stride;
            for (int column = row < blockRows ? blockColumns : 0; column < columns; column++) {
                target[offset + column * targetStride + row] = source[at + column];
            }
        }
    }

    @Override
    public void copy(
            float[] source, int from, int stride, int rows, int columns, float[] target, int offset, int targetStride) {
        int vectors = F32.loopBound(columns);
        for (int row = 0; row < rows; row++) {
            int at = from + row * stride;
            int to = offset + row * targetStride;
            for (int column = 0; column < vectors; column += LANES) {
                FloatVector.fromArray(F32, source, at + column).intoArray(target, to + column);
            }
            for (int column = vectors; column < columns; column++) {
                target[to + column] = source[at + column];
            }
        }
    }

    @Override
    public void store(
            float[] tile,
            int offset,
            int width,
            float alpha,
            MemorySegment segment,
            long to,
            long stride,
            int rows,
            int columns,
            boolean accumulate) {
        FloatVector factor = FloatVector.broadcast(F32, alpha);
        int vectors = F32.loopBound(columns);
        for (int row = 0; row < rows; row++) {
            long at = to + 4 * (row * stride);
            int from = offset + row * width;
            for (int column = 0; column < vectors; column += LANES) {
                FloatVector value = factor.mul(FloatVector.fromArray(F32, tile, from + column));
                long position = at + 4L * column;
                if (accumulate) {
                    FloatVector sum = value.add(FloatVector.fromMemorySegment(F32, segment, position, LITTLE));
                    sum.intoMemorySegment(segment, position, LITTLE);
                } else {
                    value.intoMemorySegment(segment, position, LITTLE);
                }
            }
            for (int column = vectors; column < columns; column++) {
                put(segment, at + 4L * column, alpha * tile[from + column], accumulate);
            }
        }
    }

    @Override
    public void storeTransposed(
            float[] tile,
            int offset,
            int width,
            float alpha,
            MemorySegment segment,
            long to,
            long stride,
            int rows,
            int columns,
            boolean accumulate) {
        long rowBytes = 4 * stride;
        int blockRows = rows / BLOCK * BLOCK;
        int blockColumns = columns / BLOCK * BLOCK;
        for (int row = 0; row < blockRows; row += BLOCK) {
            long at = to + 4 * (row * stride);
            if (accumulate) {
                BlockTranspose.addToSegment(
                        tile, offset + row, width, alpha, segment, at, rowBytes, blockColumns / BLOCK);
            } else {
                BlockTranspose.toSegment(tile, offset + row, width, alpha, segment, at, rowBytes, blockColumns / BLOCK);
            }
        }
        for (int row = 0; row < rows; row++) {
            long at = to + 4 * (row * stride);
            for (int column = row < blockRows ? blockColumns : 0; column < columns; column++) {
                put(segment, at + 4L * column, alpha * tile[offset + column * width + row], accumulate);
            }
        }
    }

    private static void put(MemorySegment target, long at, float value, boolean accumulate) {
        target.set(Tensor.FLOAT, at, accumulate ? target.get(Tensor.FLOAT, at) + value : value);
    }
}
