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

    // 32 vector registers (AVX-512, and NEON whatever its width) hold a tile of 12 x 2, 16 registers one of 6 x 2.
    private static final boolean WIDE =
            F32.vectorBitSize() == 512 || System.getProperty("os.arch", "").equals("aarch64");
    private static final int ROWS = WIDE ? 12 : 6;

    // The transposer works on 256 bits; a machine of 128 bits copies element by element.
    private static final boolean BLOCKS = F32.vectorBitSize() >= 256;
    private static final int BLOCK = BlockTranspose.BLOCK;

    @Override
    public int tileRows() {
        return ROWS;
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
            int rightStride,
            int width,
            float[] c,
            int cOffset) {
        if (width == 2 * LANES) {
            if (WIDE && rows > 8) {
                RegisterTiles.tile12x2(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            } else if (WIDE && rows > 6) {
                RegisterTiles.tile8x2(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            } else if (rows > 4) {
                RegisterTiles.tile6x2(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            } else {
                RegisterTiles.tile4x2(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            }
        } else {
            if (WIDE && rows > 8) {
                RegisterTiles.tile12x1(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            } else if (WIDE && rows > 6) {
                RegisterTiles.tile8x1(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            } else if (rows > 4) {
                RegisterTiles.tile6x1(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            } else {
                RegisterTiles.tile4x1(depth, left, leftOffset, right, rightOffset, rightStride, c, cOffset);
            }
        }
    }

    @Override
    public void transpose(
            MemorySegment segment,
            long from,
            long stride,
            int rows,
            int columns,
            float[] target,
            int offset,
            int targetStride) {
        long rowBytes = 4 * stride;
        int blockRows = BLOCKS ? rows / BLOCK * BLOCK : 0;
        int blockColumns = BLOCKS ? columns / BLOCK * BLOCK : 0;
        for (int row = 0; row < blockRows; row += BLOCK) {
            long at = from + 4 * (row * stride);
            for (int column = 0; column < blockColumns; column += BLOCK) {
                BlockTranspose.fromSegment(
                        segment,
                        at + 4L * column,
                        rowBytes,
                        target,
                        offset + column * targetStride + row,
                        targetStride);
            }
        }
        for (int row = 0; row < rows; row++) {
            long at = from + 4 * (row * stride);
            for (int column = row < blockRows ? blockColumns : 0; column < columns; column++) {
                target[offset + column * targetStride + row] = segment.get(Tensor.FLOAT, at + 4L * column);
            }
        }
    }

    @Override
    public void copy(
            MemorySegment segment,
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
                FloatVector.fromMemorySegment(F32, segment, at + 4L * column, LITTLE).intoArray(target, to + column);
            }
            for (int column = vectors; column < columns; column++) {
                target[to + column] = segment.get(Tensor.FLOAT, at + 4L * column);
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
        int vectors = F32.loopBound(columns);
        for (int row = 0; row < rows; row++) {
            long at = to + 4 * (row * stride);
            int from = offset + row * width;
            for (int column = 0; column < vectors; column += LANES) {
                FloatVector value = FloatVector.fromArray(F32, tile, from + column).mul(alpha);
                long position = at + 4L * column;
                if (accumulate) {
                    value = value.add(FloatVector.fromMemorySegment(F32, segment, position, LITTLE));
                }
                value.intoMemorySegment(segment, position, LITTLE);
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
        int blockRows = BLOCKS ? rows / BLOCK * BLOCK : 0;
        int blockColumns = BLOCKS ? columns / BLOCK * BLOCK : 0;
        for (int row = 0; row < blockRows; row += BLOCK) {
            long at = to + 4 * (row * stride);
            for (int column = 0; column < blockColumns; column += BLOCK) {
                int block = offset + column * width + row;
                if (accumulate) {
                    BlockTranspose.addToSegment(tile, block, width, alpha, segment, at + 4L * column, rowBytes);
                } else {
                    BlockTranspose.toSegment(tile, block, width, alpha, segment, at + 4L * column, rowBytes);
                }
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
