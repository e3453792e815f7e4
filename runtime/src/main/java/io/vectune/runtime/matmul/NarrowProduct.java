package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// Products in which one of the three sizes, the rank, is small: the low-rank paths of adapters.
///
///     reduce     c[t, k] (+)= alpha sum_i a[t, i] p[i, k]        h = x Aᵀ, gradH = gradY B
///     expand     c[t, i] (+)= alpha sum_k a[t, k] p[k, i]        y += s h Bᵀ, gradX = gradH A
///     outer      c[k, i] (+)= alpha sum_t h[t, k] x[t, i]        gradA = gradHᵀ x, and transposed gradB = gradYᵀ h
///
/// They do so little with each element of the wide matrices that packing those, as the blocked product does, costs as
/// much as the arithmetic. Here a wide matrix is read once, a few rows or columns at a time, into a buffer that stays in
/// the nearest caches; only the narrow factor is packed. Each output element is one chain of multiply-adds: the same
/// bits for any number of threads and in both tiers.
///
/// Memory: the packed factor, and some 200 KB a thread, kept for the next product. Not for use by two threads at once.
final class NarrowProduct implements ThreadTeam.Task {
    /// The largest rank: from there on the blocked product is as good.
    static final int MAX_RANK = 64;

    /// The fewest rows or columns of the wide sides.
    static final int MIN_WIDE = 65;

    private static final int MIN_TOKENS = 24;

    /// Length of the sums of [#reduce] between two passes over the buffer: 12 rows of it take 24 KB.
    private static final int DEPTH = 512;

    /// Rows of a unit of [#expand], and its columns at a time: a panel of rank 16 takes 16 KB.
    private static final int EXPAND_ROWS = 48;

    private static final int EXPAND_COLUMNS = 256;

    /// The most columns of a unit of [#outer]: memory is read in pieces of that length, and pieces of 2 KB come two to
    /// three times as fast as pieces of 384 B.
    private static final int OUTER_COLUMNS = 512;

    /// Rows at a time: with the columns 132 KB of the second-level cache, from which each vector is loaded once.
    private static final int OUTER_ROWS = 64;

    /// Elements below which a region is not worth a second thread.
    private static final long SERIAL_BELOW = 1L << 18;

    private static final int PACK_MIN = 256;

    /// Elements of a factor below which copying it takes less time than waking a thread.
    private static final int PACK_SERIAL_BELOW = 1 << 16;

    private enum Phase {
        PACK,
        REDUCE,
        EXPAND,
        OUTER
    }

    /// Buffers of one worker.
    private static final class Local {
        private final Scratch wide = new Scratch();
        private final Scratch narrow = new Scratch();
    }

    private final NarrowKernels kernels;
    private final Local[] locals;
    private final Scratch panel = new Scratch();

    // The product that runs: written before a region, read by its workers.
    private Phase phase = Phase.PACK;
    private float alpha;
    private @Nullable Matrix wide;
    private @Nullable Matrix narrow;
    private @Nullable Matrix result;
    private boolean accumulate;
    private boolean transposed;
    private int rank;

    // The panel that is packed: whether from a transposed matrix, and its row length.
    private boolean panelTransposed;
    private int packedStride;

    /// The rank rounded up, which is the row length of the panel in reduce and outer.
    private int width;

    /// Row length of the panel in expand.
    private int panelStride;

    /// Columns of a unit in outer.
    private int unitColumns;

    NarrowProduct(int threads, NarrowKernels kernels) {
        this.kernels = kernels;
        this.locals = new Local[threads];
        Arrays.setAll(locals, worker -> new Local());
    }

    /// Whether c (m, n) = a (m, k) times b is a [#reduce].
    static boolean reduces(int m, int n, int k) {
        return n <= MAX_RANK && k >= MIN_WIDE && m >= MIN_TOKENS;
    }

    /// Whether it is an [#expand].
    static boolean expands(int m, int n, int k) {
        return k > 0 && k <= MAX_RANK && n >= MIN_WIDE && m >= MIN_TOKENS;
    }

    /// Whether c (m, n) = aᵀ b, summed over k, is an [#outer], transposed or not.
    static boolean sums(int m, int n, int k) {
        return Math.min(m, n) <= MAX_RANK && Math.max(m, n) >= MIN_WIDE && k >= MIN_TOKENS;
    }

    /// c (m, n) (+)= alpha a (m, k) times b, with a small n.
    ///
    /// @param depthIsRows whether b is (k, n); otherwise (n, k)
    void reduce(ThreadTeam team, float alpha, Matrix a, Matrix b, boolean depthIsRows, Matrix c, boolean accumulate) {
        rank = c.columns();
        width = roundUp(rank, kernels.lanes());
        pack(team, b, !depthIsRows, a.columns(), width);
        wide = a;
        start(Phase.REDUCE, alpha, c, accumulate);
        int units = Math.ceilDiv(a.rows(), NarrowKernels.REDUCE_ROWS);
        run(team, units, (long) a.rows() * a.columns());
    }

    /// c (m, n) (+)= alpha a (m, k) times b, with a small k.
    ///
    /// @param depthIsRows whether b is (k, n); otherwise (n, k)
    void expand(ThreadTeam team, float alpha, Matrix a, Matrix b, boolean depthIsRows, Matrix c, boolean accumulate) {
        rank = a.columns();
        panelStride = roundUp(c.columns(), 2 * kernels.lanes());
        pack(team, b, !depthIsRows, rank, panelStride);
        narrow = a;
        start(Phase.EXPAND, alpha, c, accumulate);
        run(team, Math.ceilDiv(c.rows(), EXPAND_ROWS), (long) c.rows() * c.columns());
    }

    /// c (m, n) (+)= alpha aᵀ b, with a (k, m) and b (k, n), of which m or n is small.
    void outer(ThreadTeam team, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        transposed = b.columns() < a.columns();
        Matrix factor = transposed ? b : a;
        wide = transposed ? a : b;
        rank = factor.columns();
        width = roundUp(rank, NarrowKernels.ROWS);
        pack(team, factor, false, factor.rows(), NarrowKernels.RANK_STRIDE);
        start(Phase.OUTER, alpha, c, accumulate);
        int columns = Math.max(a.columns(), b.columns());
        int wanted = roundUp(Math.ceilDiv(columns, OUTER_COLUMNS), team.size());
        unitColumns = roundUp(Math.ceilDiv(columns, wanted), 2 * kernels.lanes());
        run(team, Math.ceilDiv(columns, unitColumns), (long) a.rows() * (a.columns() + b.columns()));
    }

    private void start(Phase next, float factor, Matrix c, boolean adds) {
        phase = next;
        alpha = factor;
        result = c;
        accumulate = adds;
    }

    private void run(ThreadTeam team, int units, long elements) {
        try {
            team.run(units, elements < SERIAL_BELOW ? units : 1, this);
        } finally {
            wide = null;
            narrow = null;
            result = null;
        }
    }

    /// panel[row * stride + column] = matrix[row, column], or its transpose.
    private void pack(ThreadTeam team, Matrix matrix, boolean transpose, int rows, int stride) {
        int length = Math.multiplyExact(rows, stride);
        panel.ofLength(length);
        phase = Phase.PACK;
        narrow = matrix;
        panelTransposed = transpose;
        packedStride = stride;
        int least = matrix.rows() > matrix.columns() ? PACK_MIN : 1;
        boolean serial = (long) matrix.rows() * matrix.columns() < PACK_SERIAL_BELOW;
        team.run(matrix.rows(), serial ? matrix.rows() : least, this);
        narrow = null;
    }

    @Override
    public void run(int from, int to, int worker) {
        Local local = locals[worker];
        switch (phase) {
            case PACK -> packRows(from, to, local);
            case REDUCE -> {
                for (int unit = from; unit < to; unit++) {
                    reduceUnit(unit, local);
                }
            }
            case EXPAND -> {
                for (int unit = from; unit < to; unit++) {
                    expandUnit(unit, local);
                }
            }
            case OUTER -> {
                for (int unit = from; unit < to; unit++) {
                    outerUnit(unit, local);
                }
            }
        }
    }

    private void packRows(int from, int to, Local local) {
        Matrix matrix = required(narrow);
        float[] target = panel.array();
        int columns = matrix.columns();
        if (!panelTransposed) {
            kernels.load(
                    matrix.segment(),
                    matrix.rowOffset(from),
                    matrix.stride(),
                    to - from,
                    columns,
                    target,
                    from * packedStride,
                    packedStride);
            return;
        }
        int stride = packedStride;
        float[] row = local.narrow.ofLength(columns);
        for (int i = from; i < to; i++) {
            kernels.load(matrix.segment(), matrix.rowOffset(i), columns, 1, columns, row, 0, columns);
            for (int k = 0; k < columns; k++) {
                target[k * stride + i] = row[k];
            }
        }
    }

    private void reduceUnit(int unit, Local local) {
        Matrix a = required(wide);
        Matrix c = required(result);
        int tile = NarrowKernels.REDUCE_ROWS;
        int row = unit * tile;
        int rows = Math.min(tile, a.rows() - row);
        int depth = Math.min(DEPTH, roundUp(a.columns(), 16));
        int stride = depth + 16;
        float[] rowBlock = local.wide.ofLength(tile * stride);
        float[] sums = local.narrow.ofLength(tile * width);
        Arrays.fill(sums, 0, tile * width, 0f);
        for (int k = 0; k < a.columns(); k += DEPTH) {
            int count = Math.min(DEPTH, a.columns() - k);
            kernels.load(a.segment(), a.rowOffset(row) + 4L * k, a.stride(), rows, count, rowBlock, 0, stride);
            kernels.reduce(count, rowBlock, stride, panel.array(), k * width, width, sums);
        }
        kernels.store(sums, width, alpha, c.segment(), c.rowOffset(row), c.stride(), rows, rank, accumulate);
    }

    private void expandUnit(int unit, Local local) {
        Matrix a = required(narrow);
        Matrix c = required(result);
        int row = unit * EXPAND_ROWS;
        int rows = Math.min(EXPAND_ROWS, c.rows() - row);
        float[] h = local.narrow.ofLength(EXPAND_ROWS * rank);
        float[] y = local.wide.ofLength(EXPAND_ROWS * (EXPAND_COLUMNS + 16));
        int stride = EXPAND_COLUMNS + 16;
        kernels.load(a.segment(), a.rowOffset(row), a.stride(), rows, rank, h, 0, rank);
        for (int i = 0; i < rows * rank; i++) {
            h[i] *= alpha;
        }
        int tileRows = roundUp(rows, NarrowKernels.ROWS);
        for (int column = 0; column < c.columns(); column += EXPAND_COLUMNS) {
            int columns = Math.min(EXPAND_COLUMNS, c.columns() - column);
            long at = c.rowOffset(row) + 4L * column;
            if (accumulate) {
                kernels.load(c.segment(), at, c.stride(), rows, columns, y, 0, stride);
            } else {
                Arrays.fill(y, 0, rows * stride, 0f);
            }
            int padded = roundUp(columns, 2 * kernels.lanes());
            kernels.expand(tileRows, padded, rank, h, panel.array(), column, panelStride, y, stride);
            kernels.store(y, stride, 1f, c.segment(), at, c.stride(), rows, columns, false);
        }
    }

    private void outerUnit(int unit, Local local) {
        Matrix x = required(wide);
        Matrix c = required(result);
        int column = unit * unitColumns;
        int columns = Math.min(unitColumns, x.columns() - column);
        int padded = roundUp(columns, 2 * kernels.lanes());
        int stride = NarrowKernels.OUTER_STRIDE;
        float[] rowBlock = local.wide.ofLength(OUTER_ROWS * stride);
        float[] sums = local.narrow.ofLength(width * stride);
        Arrays.fill(sums, 0, width * stride, 0f);
        for (int row = 0; row < x.rows(); row += OUTER_ROWS) {
            int rows = Math.min(OUTER_ROWS, x.rows() - row);
            kernels.load(x.segment(), x.rowOffset(row) + 4L * column, x.stride(), rows, columns, rowBlock, 0, stride);
            kernels.outer(rows, padded, width, panel.array(), row * NarrowKernels.RANK_STRIDE, rowBlock, sums);
        }
        if (transposed) {
            storeTransposed(c, column, columns, sums, stride, rowBlock);
        } else {
            long at = c.rowOffset(0) + 4L * column;
            kernels.store(sums, stride, alpha, c.segment(), at, c.stride(), rank, columns, accumulate);
        }
    }

    private void storeTransposed(Matrix c, int row, int rows, float[] sums, int stride, float[] turned) {
        for (int k = 0; k < rank; k++) {
            for (int i = 0; i < rows; i++) {
                turned[i * rank + k] = sums[k * stride + i];
            }
        }
        kernels.store(turned, rank, alpha, c.segment(), c.rowOffset(row), c.stride(), rows, rank, accumulate);
    }

    private static int roundUp(int value, int multiple) {
        return Math.ceilDiv(value, multiple) * multiple;
    }

    private static Matrix required(@Nullable Matrix matrix) {
        return Objects.requireNonNull(matrix, "no product is running");
    }
}
