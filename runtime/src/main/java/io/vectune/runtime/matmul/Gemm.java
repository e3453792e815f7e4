package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.AHEAD_STEP;
import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;
import static io.vectune.runtime.matmul.TileKernels.MAX_DEPTH;

import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The blocked matrix product of one session, and its buffers.
///
///     c[i, j] (+)= alpha * sum_k left[i, k] * right[k, j]          or c[j, i], the result transposed
///
/// Left and right are [Operand]s: matrices in either orientation, packed once a product into the form the kernels read,
/// or weights, decoded block by block into the cache of the thread that multiplies with them. Blocks: k in equal
/// steps of at most [TileKernels#MAX_DEPTH]; output in units of some hundred rows and columns, which are what the threads share out, so
/// that each block of a weight is decoded by one thread, once for all tokens of the product.
///
/// Which thread computes a unit, and how large the units are, does not change a bit: see [TileKernels].
///
/// Memory: at most 16 MiB of packed elements a side and about 2 MiB a thread, kept for the next product; nothing else is
/// allocated. Not for use by two threads at once.
final class Gemm implements ThreadTeam.Task {
    /// Depth packed at a time: bounds the packed copies; longer sums are added up in the result, span by span.
    static final int SPAN_DEPTH = 8192;

    /// Tokens multiplied at a time with a decoded weight: enough to hide the decoding.
    static final int SPAN_TOKENS = 512;

    /// Floats packed of one side at a time.
    private static final int SPAN_ELEMENTS = 1 << 22;

    /// Left rows whose block stays in the second-level cache while the panels pass: the more, the less often the panels
    /// come from the last-level cache.
    private static final int CACHED_ROWS = 192;

    /// The most left rows of a unit: their block and tile buffer stay in a second-level cache of 1 MB.
    private static final int MAX_UNIT_ROWS = 192;

    private static final int PACK_ROWS = 96;

    /// Columns of a weight decoded at a time: a row of them is some whole groups of a quantized weight, and contiguous
    /// memory enough to read at full speed.
    private static final int DECODED_COLUMNS = Math.min(256, Operand.MAX_COLUMNS);

    /// Panels packed at a time from rows along the panel: contiguous memory as well.
    private static final int PACK_PANELS = 8;

    /// What the depth of a block is a multiple of: the usual group size of quantized weights.
    private static final int DEPTH_STEP = 64;

    /// Multiply-adds below which a product is not worth waking a second thread: about 10 microseconds of one core.
    private static final long SERIAL_BELOW = 1L << 20;

    private enum Phase {
        PACK_LEFT,
        PACK_RIGHT,
        MULTIPLY
    }

    /// Buffers of one worker.
    private static final class Local {
        private float[] left = new float[0];
        private float[] right = new float[0];
        private float[] tile = new float[0];
        private final float[] passing = new float[Operand.PASSING];
    }

    private static final Operand NONE = new Operand();

    private final TileKernels kernels;
    private final int tileRows;
    private final int panelWidth;
    private final Local[] locals;
    private final Operand firstOperand = new Operand();
    private final Operand secondOperand = new Operand();
    private float[] packedLeft = new float[0];
    private float[] packedRight = new float[0];

    // The product that runs: written before a region, read by its workers.
    private Phase phase = Phase.MULTIPLY;
    private Operand left = NONE;
    private Operand right = NONE;
    private @Nullable Matrix result;
    private boolean transposed;
    private float alpha;
    private boolean accumulate;

    // The span that runs: rows [leftFrom, +leftCount) x columns [rightFrom, +rightCount), k in [depthFrom, +depth).
    private int leftFrom;
    private int leftCount;
    private int rightFrom;
    private int rightCount;
    private int depthFrom;
    private int depth;
    private int depthBlocks;
    private int blockDepth;
    private int tiles;
    private int panels;
    private int packPanels;
    private int leftUnits;
    private int rightUnits;

    Gemm(int threads, TileKernels kernels) {
        this.kernels = kernels;
        this.tileRows = kernels.tileRows();
        this.panelWidth = kernels.panelWidth();
        this.locals = new Local[threads];
        Arrays.setAll(locals, worker -> new Local());
    }

    /// The operands to fill in for [#product]: reused, so that a product allocates nothing.
    Operand first() {
        return firstOperand;
    }

    Operand second() {
        return secondOperand;
    }

    /// Whether the second operand should be on the left, the result written transposed: whether that costs less,
    /// counting padding, packing and the write, in cycles of two vector multiply-adds each.
    boolean cheaperSwapped(Operand a, Operand b, int depth) {
        return cost(b, a, depth, true) < cost(a, b, depth, false);
    }

    private double cost(Operand onLeft, Operand onRight, int depth, boolean swapped) {
        double lanes = kernels.narrowWidth();
        double columns = Math.ceil(onRight.size() / lanes) * lanes;
        double rows = Math.max(onLeft.size(), 4);
        double multiply = rows * columns * depth / (2 * lanes);
        double packLeft = (double) onLeft.size() * depth * (onLeft.depthIsRows() ? 0.4 : 0.15);
        double packRight = (double) onRight.size() * depth * (onRight.depthIsRows() ? 0.15 : 0.4);
        double write = (double) onLeft.size() * onRight.size() * (swapped ? 0.5 : 0.15);
        return multiply + packLeft + packRight + write;
    }

    /// Runs one product.
    ///
    /// @param left its size is the number of rows of the result, or of columns if `transposed`
    /// @param k the length of the sums
    void product(
            ThreadTeam team,
            Operand left,
            Operand right,
            int k,
            float alpha,
            Matrix result,
            boolean transposed,
            boolean accumulate) {
        this.left = left;
        this.right = right;
        this.result = result;
        this.transposed = transposed;
        this.alpha = alpha;
        this.accumulate = accumulate;
        int spanDepth = Math.min(k, SPAN_DEPTH);
        int limit = Math.max(SPAN_TOKENS, SPAN_ELEMENTS / Math.max(MAX_DEPTH, spanDepth) / tileRows * tileRows);
        int leftSpan = span(left, right, limit);
        int rightSpan = span(right, left, limit / panelWidth * panelWidth);
        try {
            for (depthFrom = 0; depthFrom < k || depthFrom == 0; depthFrom += SPAN_DEPTH) {
                depth = Math.min(k - depthFrom, SPAN_DEPTH);
                // Blocks of equal depth, of whole groups of a quantized weight: no short last block.
                int blocks = Math.max(1, (depth + MAX_DEPTH - 1) / MAX_DEPTH);
                blockDepth = Math.min(MAX_DEPTH, Math.max(1, roundUp((depth + blocks - 1) / blocks, DEPTH_STEP)));
                depthBlocks = Math.max(1, (depth + blockDepth - 1) / blockDepth);
                this.accumulate = accumulate || depthFrom > 0;
                int packed = -1;
                for (rightFrom = 0; rightFrom < right.size(); rightFrom += rightSpan) {
                    rightCount = Math.min(right.size() - rightFrom, rightSpan);
                    panels = (rightCount + panelWidth - 1) / panelWidth;
                    packRight(team);
                    for (leftFrom = 0; leftFrom < left.size(); leftFrom += leftSpan) {
                        leftCount = Math.min(left.size() - leftFrom, leftSpan);
                        tiles = (leftCount + tileRows - 1) / tileRows;
                        if (packed != leftFrom) {
                            packLeft(team);
                            packed = leftFrom;
                        }
                        multiply(team);
                    }
                }
            }
        } finally {
            this.left = NONE;
            this.right = NONE;
            this.result = null;
            left.clear();
            right.clear();
        }
    }

    /// How much of an operand is multiplied at a time: all of a weight, as much as fits of a matrix that is packed, and
    /// a fixed number of tokens against a weight, whose tile buffer grows with them.
    private static int span(Operand operand, Operand other, int limit) {
        if (operand.isDecoded()) {
            return Math.max(1, operand.size());
        }
        return other.isDecoded() ? SPAN_TOKENS : limit;
    }

    private void packRight(ThreadTeam team) {
        if (right.isDecoded()) {
            return;
        }
        packedRight = grown(packedRight, (long) panels * panelWidth * depth);
        phase = Phase.PACK_RIGHT;
        packPanels = right.depthIsRows() ? PACK_PANELS : 1;
        run(team, (panels + packPanels - 1) / packPanels * depthBlocks, (long) rightCount * depth * 8);
    }

    private void packLeft(ThreadTeam team) {
        if (left.isDecoded()) {
            return;
        }
        packedLeft = grown(packedLeft, (long) tiles * tileRows * depthBlocks * LEFT_STRIDE);
        phase = Phase.PACK_LEFT;
        run(team, (leftCount + PACK_ROWS - 1) / PACK_ROWS * depthBlocks, (long) leftCount * depth * 8);
    }

    private void multiply(ThreadTeam team) {
        int threads = team.size();
        int maxTiles = Math.max(1, MAX_UNIT_ROWS / tileRows);
        int maxPanels = Math.max(1, (right.isDecoded() ? DECODED_COLUMNS : SPAN_TOKENS) / panelWidth);
        leftUnits = left.isDecoded() || !right.isDecoded() ? units(tiles, maxTiles) : 1;
        rightUnits = left.isDecoded() ? 1 : units(panels, maxPanels);
        int wanted = 2 * threads;
        if (leftUnits * rightUnits % threads != 0 || leftUnits * rightUnits < wanted) {
            // Units of equal size, and a multiple of the threads of them: none waits for a last one.
            if (left.isDecoded() || (!right.isDecoded() && tiles >= panels)) {
                leftUnits = Math.min(tiles, roundUp(Math.max(leftUnits, units(wanted, rightUnits)), threads));
            } else {
                rightUnits = Math.min(panels, roundUp(Math.max(rightUnits, units(wanted, leftUnits)), threads));
            }
        }
        phase = Phase.MULTIPLY;
        run(team, leftUnits * rightUnits, (long) leftCount * rightCount * depth);
    }

    private void run(ThreadTeam team, int units, long work) {
        team.run(units, work < SERIAL_BELOW ? units : 1, this);
    }

    private static int units(int size, int most) {
        return (size + most - 1) / most;
    }

    private static int roundUp(int value, int multiple) {
        return (value + multiple - 1) / multiple * multiple;
    }

    private static float[] grown(float[] buffer, long length) {
        return buffer.length >= length ? buffer : new float[Math.toIntExact(length)];
    }

    @Override
    public void run(int from, int to, int worker) {
        for (int unit = from; unit < to; unit++) {
            switch (phase) {
                case PACK_LEFT -> packLeftUnit(unit, locals[worker]);
                case PACK_RIGHT -> packRightUnit(unit, locals[worker]);
                case MULTIPLY -> multiplyUnit(unit, locals[worker]);
            }
        }
    }

    private void packLeftUnit(int unit, Local local) {
        int block = unit % depthBlocks;
        int row = unit / depthBlocks * PACK_ROWS;
        int k = block * blockDepth;
        left.toRows(
                kernels,
                leftFrom + row,
                Math.min(PACK_ROWS, leftCount - row),
                depthFrom + k,
                Math.min(blockDepth, depth - k),
                packedLeft,
                (block * tiles * tileRows + row) * LEFT_STRIDE,
                LEFT_STRIDE,
                local.passing);
    }

    private void packRightUnit(int unit, Local local) {
        int panel = unit / depthBlocks * packPanels;
        int k = unit % depthBlocks * blockDepth;
        int column = panel * panelWidth;
        int columns = Math.min(packPanels * panelWidth, rightCount - column);
        right.toPanels(
                kernels,
                rightFrom + column,
                columns,
                depthFrom + k,
                Math.min(blockDepth, depth - k),
                packedRight,
                panel * panelWidth * depth,
                panelWidth * depth,
                k,
                local.passing);
    }

    private void multiplyUnit(int unit, Local local) {
        int leftUnit = unit % leftUnits;
        int rightUnit = unit / leftUnits;
        int tileFrom = share(tiles, leftUnit, leftUnits);
        int tileTo = share(tiles, leftUnit + 1, leftUnits);
        int panelFrom = share(panels, rightUnit, rightUnits);
        int panelTo = share(panels, rightUnit + 1, rightUnits);
        int rowFrom = tileFrom * tileRows;
        int rowTo = Math.min(leftCount, tileTo * tileRows);
        int columnFrom = panelFrom * panelWidth;
        int columnTo = Math.min(rightCount, panelTo * panelWidth);
        int paddedRows = (tileTo - tileFrom) * tileRows;
        int cachedTiles = Math.max(1, CACHED_ROWS / tileRows);
        boolean single = depthBlocks == 1;
        long tileLength =
                single
                        ? (long) Math.min(paddedRows, cachedTiles * tileRows) * panelWidth
                        : (long) paddedRows * panelWidth * (panelTo - panelFrom);
        local.tile = grown(local.tile, tileLength);
        if (left.isDecoded()) {
            local.left = grown(local.left, (long) paddedRows * LEFT_STRIDE);
        }
        if (right.isDecoded()) {
            local.right = grown(local.right, (long) (panelTo - panelFrom) * panelWidth * blockDepth);
        }
        for (int block = 0; block < depthBlocks; block++) {
            int k = block * blockDepth;
            int count = Math.min(blockDepth, depth - k);
            float[] leftRows = packedLeft;
            int leftAt = (block * tiles * tileRows + rowFrom) * LEFT_STRIDE;
            if (left.isDecoded()) {
                leftRows = local.left;
                leftAt = 0;
                left.toRows(
                        kernels,
                        leftFrom + rowFrom,
                        rowTo - rowFrom,
                        depthFrom + k,
                        count,
                        leftRows,
                        0,
                        LEFT_STRIDE,
                        local.passing);
            }
            if (right.isDecoded()) {
                right.toPanels(
                        kernels,
                        rightFrom + columnFrom,
                        columnTo - columnFrom,
                        depthFrom + k,
                        count,
                        local.right,
                        0,
                        panelWidth * blockDepth,
                        0,
                        local.passing);
            }
            for (int tile = tileFrom; tile < tileTo; tile += cachedTiles) {
                int rows = Math.min(rowTo, (tile + cachedTiles) * tileRows) - tile * tileRows;
                for (int panel = panelFrom; panel < panelTo; panel++) {
                    int column = panel * panelWidth;
                    int columns = Math.min(columnTo - column, panelWidth);
                    int width = kernels.width(columns);
                    float[] rightPanel = packedRight;
                    int rightAt = panel * panelWidth * depth + k * width;
                    if (right.isDecoded()) {
                        rightPanel = local.right;
                        rightAt = (panel - panelFrom) * panelWidth * blockDepth;
                    }
                    int tileAt =
                            single
                                    ? 0
                                    : (panel - panelFrom) * paddedRows * panelWidth
                                            + (tile - tileFrom) * tileRows * width;
                    int from = leftAt + (tile - tileFrom) * tileRows * LEFT_STRIDE;
                    float[] ahead = packedRight;
                    int aheadAt;
                    int aheadShare;
                    if (right.isDecoded()) {
                        // Each panel passes a share of the next rows.
                        boolean last = tile + cachedTiles >= tileTo;
                        int rowsAt = leftAt + (last ? tiles : tile + cachedTiles - tileFrom) * tileRows * LEFT_STRIDE;
                        int passed = cachedTiles * tileRows * LEFT_STRIDE / (panelTo - panelFrom);
                        ahead = packedLeft;
                        aheadAt = rowsAt + (panel - panelFrom) * passed;
                        aheadShare = passed / cachedTiles;
                    } else {
                        // The rows pass the next panel.
                        aheadAt =
                                panel + 1 < panelTo
                                        ? rightAt + panelWidth * depth
                                        : panelFrom * panelWidth * depth + (k + count) * panelWidth;
                        aheadShare = width * count / ((rows + tileRows - 1) / tileRows);
                    }
                    multiplyTiles(
                            rows,
                            count,
                            leftRows,
                            from,
                            rightPanel,
                            rightAt,
                            width,
                            local.tile,
                            tileAt,
                            block == 0,
                            ahead,
                            aheadAt,
                            aheadShare);
                    if (block == depthBlocks - 1) {
                        write(local.tile, tileAt, width, tile * tileRows, rows, column, columns);
                    }
                }
            }
        }
    }

    private void multiplyTiles(
            int rows,
            int depth,
            float[] leftRows,
            int leftAt,
            float[] rightPanel,
            int rightAt,
            int width,
            float[] tile,
            int tileAt,
            boolean fresh,
            float[] ahead,
            int aheadAt,
            int aheadShare) {
        int lastAhead = ahead.length - AHEAD_STEP * depth;
        for (int row = 0; row < rows; row += tileRows) {
            int at = tileAt + row * width;
            if (fresh) {
                Arrays.fill(tile, at, at + tileRows * width, 0f);
            }
            kernels.multiply(
                    Math.min(tileRows, rows - row),
                    depth,
                    leftRows,
                    leftAt + row * LEFT_STRIDE,
                    rightPanel,
                    rightAt,
                    width,
                    tile,
                    at,
                    ahead,
                    Math.max(0, Math.min(aheadAt + row / tileRows * aheadShare, lastAhead)));
        }
    }

    private void write(float[] tile, int tileAt, int width, int row, int rows, int column, int columns) {
        Matrix target = result;
        if (target == null) {
            throw new IllegalStateException("no product is running");
        }
        int i = leftFrom + row;
        int j = rightFrom + column;
        if (transposed) {
            long at = target.rowOffset(j) + 4L * i;
            kernels.storeTransposed(
                    tile,
                    tileAt,
                    width,
                    alpha,
                    target.segment(),
                    at,
                    target.stride(),
                    /* rows= */ columns,
                    /* columns= */ rows,
                    accumulate);
        } else {
            long at = target.rowOffset(i) + 4L * j;
            kernels.store(tile, tileAt, width, alpha, target.segment(), at, target.stride(), rows, columns, accumulate);
        }
    }

    private static int share(int size, int part, int parts) {
        return (int) ((long) size * part / parts);
    }
}
