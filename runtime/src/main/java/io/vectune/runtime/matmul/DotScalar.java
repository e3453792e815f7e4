package io.vectune.runtime.matmul;

/// [DotKernels] in plain Java: the reference.
final class DotScalar implements DotKernels {
    private final int lanes;
    private final int maxTokens;

    /// @param lanes the number of chains of a sum, a power of two
    DotScalar(int lanes, int maxTokens) {
        this.lanes = lanes;
        this.maxTokens = maxTokens;
    }

    @Override
    public int lanes() {
        return lanes;
    }

    @Override
    public int maxTokens() {
        return maxTokens;
    }

    @Override
    public void multiply(
            int tokens, int depth, float[] weights, int weightsAt, float[] x, int xAt, float[] sums, int at) {
        for (int token = 0; token < tokens; token++) {
            for (int row = 0; row < ROWS; row++) {
                int w = weightsAt + row * STRIDE;
                int v = xAt + token * STRIDE;
                int chains = at + (token * ROWS + row) * lanes;
                for (int k = 0; k < depth; k += lanes) {
                    for (int lane = 0; lane < lanes; lane++) {
                        float chain = sums[chains + lane];
                        sums[chains + lane] = Math.fma(weights[w + k + lane], x[v + k + lane], chain);
                    }
                }
            }
        }
    }

    @Override
    public void fold(float[] sums, int vectors) {
        for (int count = lanes; count > 1; count /= 2) {
            for (int i = 0; i < vectors * count / 2; i++) {
                sums[i] = sums[2 * i] + sums[2 * i + 1];
            }
        }
    }
}
