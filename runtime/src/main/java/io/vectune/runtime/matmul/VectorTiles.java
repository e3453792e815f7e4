package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.VectorWidth;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/// The Vector API kernels: same chains of operations as [ScalarTiles], same bits.
final class VectorTiles implements TileKernels {
    private static final VectorSpecies<Float> F32 = VectorWidth.F32;
    private static final int LANES = F32.length();

    // Stored vectors end with a product by one, the same bits, in a vector of a known class: see RegisterTiles.
    private static final FloatVector ONE = FloatVector.broadcast(F32, 1);

    private static final int BLOCK = BlockTranspose.BLOCK;
    private static final boolean WIDE = F32.vectorBitSize() == 512;

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
            int aheadAt) {
        if (width == 2 * LANES) {
            if (RegisterTiles.WIDE && rows > 6) {
                RegisterTiles.tile8x2(depth, left, leftOffset, right, rightOffset, c, cOffset, aheadAt);
            } else if (rows > 4) {
                RegisterTiles.tile6x2(depth, left, leftOffset, right, rightOffset, c, cOffset, aheadAt);
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
        int wideRows = 0;
        int wideColumns = 0;
        if (WIDE && rows >= WideTranspose.BLOCK && columns >= WideTranspose.BLOCK) {
            wideRows = rows / WideTranspose.BLOCK * WideTranspose.BLOCK;
            wideColumns = columns / WideTranspose.BLOCK * WideTranspose.BLOCK;
            int tall = wideRows / WideTranspose.BLOCK;
            int wide = wideColumns / WideTranspose.BLOCK;
            WideTranspose.copy(source, from, stride, tall, wide, target, offset, targetStride);
        }
        int right = offset + wideColumns * targetStride;
        transposeRest(source, from + wideColumns, stride, wideRows, columns - wideColumns, target, right, targetStride);
        int below = from + wideRows * stride;
        transposeRest(source, below, stride, rows - wideRows, columns, target, offset + wideRows, targetStride);
    }

    /// Beside and below the wide blocks: blocks of 4 x 4, then element by element.
    private static void transposeRest(
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
                ONE.mul(FloatVector.fromArray(F32, source, at + column)).intoArray(target, to + column);
            }
            for (int column = vectors; column < columns; column++) {
                target[to + column] = source[at + column];
            }
        }
    }

    @Override
    public void scale(float factor, float[] target, int from, int count) {
        FloatVector factors = FloatVector.broadcast(F32, factor);
        int vectors = F32.loopBound(count);
        for (int i = from; i < from + vectors; i += LANES) {
            ONE.mul(FloatVector.fromArray(F32, target, i).mul(factors)).intoArray(target, i);
        }
        for (int i = from + vectors; i < from + count; i++) {
            target[i] *= factor;
        }
    }

    @Override
    public void add(float[] source, float[] target, int from, int count) {
        int vectors = F32.loopBound(count);
        for (int i = 0; i < vectors; i += LANES) {
            FloatVector sum = FloatVector.fromArray(F32, target, from + i).add(FloatVector.fromArray(F32, source, i));
            ONE.mul(sum).intoArray(target, from + i);
        }
        for (int i = vectors; i < count; i++) {
            target[from + i] += source[i];
        }
    }
}
