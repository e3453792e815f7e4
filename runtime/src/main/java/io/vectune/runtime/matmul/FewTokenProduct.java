package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.DotKernels.MAX_DEPTH;
import static io.vectune.runtime.matmul.DotKernels.ROWS;
import static io.vectune.runtime.matmul.DotKernels.STRIDE;

import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The product of few tokens with a weight of any format, which is decoded once for all of them.
///
///     y[token, row] (+)= sum_k x[token, k] W[row, k]
///
/// Some rows of W are decoded into an array that stays in the first-level cache, and multiplied from there with all
/// tokens as dot products: see [DotKernels]. The time is that of decoding W and that of the multiply-adds of so many
/// tokens, where the blocked product pads the tokens to whole vectors (16 of them with 512 bits).
///
/// A unit is some rows of W; it sums in the order of k whoever computes it: the same bits for any number of threads.
/// Memory: x once more, and some 100 KB a thread, kept for the next product. Not for use by two threads at once.
final class FewTokenProduct implements ThreadTeam.Task {
    /// The most tokens: 16 fill the vectors of the blocked product.
    static final int MAX_TOKENS = 15;

    /// Rows of a unit: x passes through the first-level cache once for so many rows.
    private static final int UNIT_ROWS = 32;

    /// Rows decoded at a time, some tiles.
    private static final int DECODED_ROWS = 2 * ROWS;

    /// What the depth of a strip of k is a multiple of: the longest blocks of quantized weights, which decode faster
    /// whole.
    private static final int DEPTH_STEP = 256;

    /// The fewest tokens that a tile computes: a single one is multiplied beside the next row, whatever that holds.
    private static final int MIN_TILE = 2;

    /// Multiply-adds below which a product is not worth waking a second thread: about 10 microseconds of one core.
    private static final long SERIAL_BELOW = 1L << 20;

    /// Buffers of one worker.
    private static final class Local {
        private final float[] weights = new float[DECODED_ROWS * STRIDE];
        private final Scratch sums = new Scratch();
        private final Scratch rows = new Scratch();
    }

    private final DotKernels kernels;
    private final NarrowKernels copies;
    private final Local[] locals;
    private final Scratch packed = new Scratch();

    // The product that runs: written before a region, read by its workers.
    private @Nullable Weight weight;
    private @Nullable Matrix result;
    private boolean accumulate;
    private int tokens;
    private int tiles;
    private int stripDepth;

    FewTokenProduct(int threads, DotKernels kernels, NarrowKernels copies) {
        this.kernels = kernels;
        this.copies = copies;
        this.locals = new Local[threads];
        Arrays.setAll(locals, worker -> new Local());
    }

    /// y (+)= x Wᵀ.
    ///
    /// @param x (tokens, inFeatures)
    /// @param y (tokens, outFeatures)
    void product(ThreadTeam team, Weight weight, Matrix x, Matrix y, boolean accumulate) {
        this.weight = weight;
        this.result = y;
        this.accumulate = accumulate;
        this.tokens = x.rows();
        this.tiles = Math.ceilDiv(tokens, kernels.maxTokens());
        pack(x);
        for (Local local : locals) {
            local.sums.ofLength(UNIT_ROWS / ROWS * tiles * kernels.slots() * kernels.lanes());
            local.rows.ofLength(tokens * UNIT_ROWS);
        }
        int units = Math.ceilDiv(weight.outFeatures(), UNIT_ROWS);
        long work = (long) weight.outFeatures() * weight.inFeatures() * tokens;
        try {
            team.run(units, work < SERIAL_BELOW ? units : 1, this);
        } finally {
            this.weight = null;
            this.result = null;
        }
    }

    /// x in strips of k of equal depth, rows of [DotKernels#STRIDE] floats.
    private void pack(Matrix x) {
        int columns = x.columns();
        int strips = Math.max(1, Math.ceilDiv(columns, MAX_DEPTH));
        stripDepth = Math.ceilDiv(Math.ceilDiv(columns, strips), DEPTH_STEP) * DEPTH_STEP;
        float[] target = packed.ofLength(Math.multiplyExact(strips, stripLength()));
        for (int k = 0, at = 0; k < columns; k += stripDepth, at += stripLength()) {
            int depth = Math.min(stripDepth, columns - k);
            copies.load(x.segment(), x.offset() + 4L * k, x.stride(), tokens, depth, target, at, STRIDE);
            pad(target, at, tokens, depth);
        }
    }

    private int stripLength() {
        return Math.max(MIN_TILE, tokens) * STRIDE;
    }

    /// Zeros behind each row, up to a whole vector.
    private void pad(float[] target, int at, int rows, int depth) {
        int padded = padded(depth);
        for (int row = 0; row < rows && padded > depth; row++) {
            Arrays.fill(target, at + row * STRIDE + depth, at + row * STRIDE + padded, 0f);
        }
    }

    private int padded(int depth) {
        return Math.ceilDiv(depth, kernels.lanes()) * kernels.lanes();
    }

    @Override
    public void run(int from, int to, int worker) {
        Weight format = weight;
        Matrix y = result;
        if (format == null || y == null) {
            throw new IllegalStateException("no product is running");
        }
        for (int unit = from; unit < to; unit++) {
            int row = unit * UNIT_ROWS;
            multiply(format, row, Math.min(UNIT_ROWS, format.outFeatures() - row), y, locals[worker]);
        }
    }

    private void multiply(Weight format, int first, int rows, Matrix y, Local local) {
        int columns = format.inFeatures();
        format.readAhead(first, first + rows);
        int slots = Math.ceilDiv(rows, ROWS) * tiles * kernels.slots();
        Arrays.fill(local.sums.array(), 0, slots * kernels.lanes(), 0f);
        for (int k = 0, xAt = 0; k < columns; k += stripDepth, xAt += stripLength()) {
            int depth = Math.min(stripDepth, columns - k);
            for (int row = 0; row < rows; row += DECODED_ROWS) {
                int count = Math.min(DECODED_ROWS, rows - row);
                format.decode(first + row, first + row + count, k, k + depth, local.weights, 0, STRIDE);
                pad(local.weights, 0, count, depth);
                for (int tile = 0; tile < tiles; tile++) {
                    for (int quad = 0; quad < count; quad += ROWS) {
                        multiplyTile(tile, row + quad, quad * STRIDE, padded(depth), xAt, local);
                    }
                }
            }
        }
        kernels.fold(local.sums.array(), slots);
        write(first, rows, y, local);
    }

    private void multiplyTile(int tile, int row, int weightsAt, int depth, int xAt, Local local) {
        int token = firstToken(tile);
        int size = Math.max(MIN_TILE, firstToken(tile + 1) - token);
        int at = (row / ROWS * tiles + tile) * kernels.slots() * kernels.lanes();
        kernels.multiply(
                size, depth, local.weights, weightsAt, packed.array(), xAt + token * STRIDE, local.sums.array(), at);
    }

    /// Tiles share the tokens evenly, the last one having the most: the row behind a tile of one token can be read.
    private int firstToken(int tile) {
        return tokens * tile / tiles;
    }

    private void write(int first, int rows, Matrix y, Local local) {
        for (int row = 0; row < rows; row += ROWS) {
            for (int tile = 0; tile < tiles; tile++) {
                int from = (row / ROWS * tiles + tile) * kernels.slots();
                for (int token = firstToken(tile); token < firstToken(tile + 1); token++, from += ROWS) {
                    System.arraycopy(local.sums.array(), from, local.rows.array(), token * UNIT_ROWS + row, ROWS);
                }
            }
        }
        long to = y.offset() + 4L * first;
        copies.store(local.rows.array(), UNIT_ROWS, 1f, y.segment(), to, y.stride(), tokens, rows, accumulate);
    }
}
