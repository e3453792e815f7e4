package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

/// The product of few tokens with a weight by the format's own kernel: x is prepared once, the units are shared out.
///
/// Bound by the memory that the weight is read from. Reusable, so that a product allocates nothing.
final class FusedProduct implements ThreadTeam.Task {
    /// Weights below which a second thread costs more than it brings: some microseconds of reading on one core.
    private static final long SERIAL_BELOW = 1L << 16;

    private float[] prepared = new float[0];
    private @Nullable Weight weight;
    private @Nullable Matrix result;
    private int tokens;

    /// y = x Wᵀ for at most [Weight#fewTokens] tokens.
    void product(ThreadTeam team, Weight weight, Matrix x, Matrix y) {
        int length = weight.preparedLength(x.rows());
        if (prepared.length < length) {
            prepared = new float[length];
        }
        weight.prepare(x, prepared);
        this.weight = weight;
        this.result = y;
        this.tokens = x.rows();
        int units = weight.units();
        long weights = (long) weight.outFeatures() * weight.inFeatures();
        try {
            team.run(units, weights < SERIAL_BELOW ? units : 1, this);
        } finally {
            this.weight = null;
            this.result = null;
        }
    }

    @Override
    public void run(int from, int to, int worker) {
        Weight format = weight;
        Matrix y = result;
        if (format == null || y == null) {
            throw new IllegalStateException("no product is running");
        }
        format.multiplyPrepared(prepared, tokens, y, from, to);
    }
}
