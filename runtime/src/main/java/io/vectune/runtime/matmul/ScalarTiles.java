package io.vectune.runtime.matmul;

/// The reference kernels, in plain Java and in formula order.
final class ScalarTiles implements TileKernels {
    private static final int ROWS = 4;
    private static final int WIDTH = 16;

    @Override
    public int tileRows() {
        return ROWS;
    }

    @Override
    public int panelWidth() {
        return WIDTH;
    }

    @Override
    public int narrowWidth() {
        return WIDTH / 2;
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
        for (int r = 0; r < rows; r++) {
            for (int k = 0; k < depth; k++) {
                float a = left[leftOffset + r * LEFT_STRIDE + k];
                int from = rightOffset + k * width;
                int to = cOffset + r * width;
                for (int j = 0; j < width; j++) {
                    c[to + j] = Math.fma(a, right[from + j], c[to + j]);
                }
            }
        }
    }

    @Override
    public void transpose(
            float[] source, int from, int stride, int rows, int columns, float[] target, int offset, int targetStride) {
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                target[offset + column * targetStride + row] = source[from + row * stride + column];
            }
        }
    }

    @Override
    public void copy(
            float[] source, int from, int stride, int rows, int columns, float[] target, int offset, int targetStride) {
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                target[offset + row * targetStride + column] = source[from + row * stride + column];
            }
        }
    }

    @Override
    public void scale(float factor, float[] target, int from, int count) {
        for (int i = from; i < from + count; i++) {
            target[i] *= factor;
        }
    }

    @Override
    public void add(float[] source, float[] target, int from, int count) {
        for (int i = 0; i < count; i++) {
            target[from + i] += source[i];
        }
    }
}
