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
/// [LowRankTerms] are one more block of k, multiplied right after the last of the others, while a tile's sums are in the
/// first-level cache. A unit takes the ranks that its part of the weight needs.
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

        // The low-rank terms of the unit: how many ranks, the first of them, and where its rows and panels are.
        private int ranks;
        private int rankFrom;
        private float[] termRows = new float[0];
        private float[] termPanels = new float[0];
        private float[] termsLeft = termRows;
        private float[] termsRight = termPanels;
        private int termsLeftAt;
    }

    private static final Operand NONE = new Operand();

    private final TileKernels kernels;
    private final int tileRows;
    private final int panelWidth;
    private final Local[] locals;
    private final Operand firstOperand = new Operand();
    private final Operand secondOperand = new Operand();
    private final Operand leftTerms = new Operand();
    private final Operand rightTerms = new Operand();
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
    private @Nullable LowRankTerms terms;

    // The span that runs: rows [leftFrom, +leftCount) x columns [rightFrom, +rightCount), k in [depthFrom, +depth).
    private int leftFrom;
    private int leftCount;
    private int rightFrom;
    private int rightCount;
    private int depthFrom;
    private int depth;
    private int depthBlocks;
    private int blockDepth;
    private int termDepth;
    private int blocks;
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

    /// Runs one product without low-rank terms.
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
        product(team, left, right, k, alpha, result, transposed, accumulate, null);
    }

    /// Runs one product.
    ///
    /// @param terms of one large product of a weight and tokens; at most a block of them, or null
    void product(
            ThreadTeam team,
            Operand left,
            Operand right,
            int k,
            float alpha,
            Matrix result,
            boolean transposed,
            boolean accumulate,
            @Nullable LowRankTerms terms) {
        this.left = left;
        this.right = right;
        this.terms = terms;
        if (terms != null) {
            leftTerms.of(terms, right.isDecoded(), left);
            rightTerms.of(terms, left.isDecoded(), right);
        }
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
                int fewest = Math.max(1, (depth + MAX_DEPTH - 1) / MAX_DEPTH);
                blockDepth = Math.min(MAX_DEPTH, Math.max(1, roundUp((depth + fewest - 1) / fewest, DEPTH_STEP)));
                depthBlocks = Math.max(1, (depth + blockDepth - 1) / blockDepth);
                termDepth = terms != null && depthFrom + depth == k ? terms.rank() : 0;
                blocks = termDepth == 0 ? depthBlocks : depthBlocks + 1;
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
            this.terms = null;
            left.clear();
            right.clear();
            leftTerms.clear();
            rightTerms.clear();
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
        packedRight = grown(packedRight, (long) panels * panelWidth * (depth + termDepth));
        phase = Phase.PACK_RIGHT;
        packPanels = right.depthIsRows() ? PACK_PANELS : 1;
        run(team, (panels + packPanels - 1) / packPanels * blocks, (long) rightCount * depth * 8);
    }

    private void packLeft(ThreadTeam team) {
        if (left.isDecoded()) {
            return;
        }
        packedLeft = grown(packedLeft, (long) tiles * tileRows * blocks * LEFT_STRIDE);
        phase = Phase.PACK_LEFT;
        run(team, (leftCount + PACK_ROWS - 1) / PACK_ROWS * blocks, (long) leftCount * depth * 8);
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

    /// Whether a block of k is that of the low-rank terms.
    private boolean isTerms(int block) {
        return block == depthBlocks;
    }

    /// Length of a block of k.
    private int depthOf(int block) {
        return isTerms(block) ? termDepth : Math.min(blockDepth, depth - block * blockDepth);
    }

    /// First k of a block in its operand.
    private int operandDepth(int block) {
        return isTerms(block) ? 0 : depthFrom + block * blockDepth;
    }

    /// First k of a block in the packed panels of the span.
    private int packedDepth(int block) {
        return isTerms(block) ? depth : block * blockDepth;
    }

    private void packLeftUnit(int unit, Local local) {
        int block = unit % blocks;
        int row = unit / blocks * PACK_ROWS;
        Operand source = isTerms(block) ? leftTerms : left;
        source.toRows(
                kernels,
                leftFrom + row,
                Math.min(PACK_ROWS, leftCount - row),
                operandDepth(block),
                depthOf(block),
                packedLeft,
                (block * tiles * tileRows + row) * LEFT_STRIDE,
                LEFT_STRIDE,
                local.passing);
    }

    private void packRightUnit(int unit, Local local) {
        int panel = unit / blocks * packPanels;
        int block = unit % blocks;
        int column = panel * panelWidth;
        int columns = Math.min(packPanels * panelWidth, rightCount - column);
        int panelLength = panelWidth * (depth + termDepth);
        Operand source = isTerms(block) ? rightTerms : right;
        source.toPanels(
                kernels,
                rightFrom + column,
                columns,
                operandDepth(block),
                depthOf(block),
                packedRight,
                panel * panelLength,
                panelLength,
                packedDepth(block),
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
        int panelLength = panelWidth * (depth + termDepth);
        int decodedLength = panelWidth * blockDepth;
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
            local.right = grown(local.right, (long) (panelTo - panelFrom) * decodedLength);
        }
        prepareTerms(local, rowFrom, rowTo, columnFrom, columnTo);
        for (int block = 0; block < depthBlocks; block++) {
            int k = packedDepth(block);
            int count = depthOf(block);
            float[] leftRows = packedLeft;
            int leftAt = (block * tiles * tileRows + rowFrom) * LEFT_STRIDE;
            if (left.isDecoded()) {
                leftRows = local.left;
                leftAt = 0;
                left.toRows(
                        kernels,
                        leftFrom + rowFrom,
                        rowTo - rowFrom,
                        operandDepth(block),
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
                        operandDepth(block),
                        count,
                        local.right,
                        0,
                        decodedLength,
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
                    int rightAt = panel * panelLength + k * width;
                    if (right.isDecoded()) {
                        rightPanel = local.right;
                        rightAt = (panel - panelFrom) * decodedLength;
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
                                        ? rightAt + panelLength
                                        : panelFrom * panelLength + (k + count) * panelWidth;
                        aheadShare = width * count / ((rows + tileRows - 1) / tileRows);
                    }
                    boolean lastBlock = block == depthBlocks - 1;
                    multiplyTiles(
                            local,
                            rows,
                            count,
                            leftRows,
                            from,
                            rightPanel,
                            rightAt,
                            width,
                            tileAt,
                            block == 0,
                            lastBlock ? local.ranks : 0,
                            local.termsLeftAt + (tile - tileFrom) * tileRows * LEFT_STRIDE,
                            termPanelAt(local, panel, panelFrom, width),
                            ahead,
                            aheadAt,
                            aheadShare);
                    if (lastBlock) {
                        write(local.tile, tileAt, width, tile * tileRows, rows, column, columns);
                    }
                }
            }
        }
    }

    /// Finds, and decodes where they are not packed, the ranks that a unit takes of the low-rank terms.
    private void prepareTerms(Local local, int rowFrom, int rowTo, int columnFrom, int columnTo) {
        local.ranks = 0;
        LowRankTerms added = terms;
        if (added == null || termDepth == 0) {
            return;
        }
        int from = left.isDecoded() ? leftFrom + rowFrom : rightFrom + columnFrom;
        int to = left.isDecoded() ? leftFrom + rowTo : rightFrom + columnTo;
        local.rankFrom = added.rankFrom(from, to);
        local.ranks = added.rankTo(from, to) - local.rankFrom;
        int rows = rowTo - rowFrom;
        int columns = columnTo - columnFrom;
        if (left.isDecoded()) {
            local.termRows = grown(local.termRows, (long) roundUp(rows, tileRows) * LEFT_STRIDE);
            local.termsLeft = local.termRows;
            local.termsLeftAt = 0;
            leftTerms.toRows(
                    kernels, from, rows, local.rankFrom, local.ranks, local.termRows, 0, LEFT_STRIDE, local.passing);
        } else {
            local.termsLeft = packedLeft;
            local.termsLeftAt = (depthBlocks * tiles * tileRows + rowFrom) * LEFT_STRIDE + local.rankFrom;
        }
        if (right.isDecoded()) {
            int panelLength = panelWidth * local.ranks;
            local.termPanels = grown(local.termPanels, (long) units(columns, panelWidth) * panelLength);
            local.termsRight = local.termPanels;
            rightTerms.toPanels(
                    kernels,
                    from,
                    columns,
                    local.rankFrom,
                    local.ranks,
                    local.termPanels,
                    0,
                    panelLength,
                    0,
                    local.passing);
        } else {
            local.termsRight = packedRight;
        }
    }

    /// Where the ranks of a unit start in a panel of the low-rank terms.
    private int termPanelAt(Local local, int panel, int panelFrom, int width) {
        return right.isDecoded()
                ? (panel - panelFrom) * panelWidth * local.ranks
                : panel * panelWidth * (depth + termDepth) + (depth + local.rankFrom) * width;
    }

    /// One block of k, and of the low-rank terms `ranks`, for the rows and one panel.
    private void multiplyTiles(
            Local local,
            int rows,
            int depth,
            float[] leftRows,
            int leftAt,
            float[] rightPanel,
            int rightAt,
            int width,
            int tileAt,
            boolean fresh,
            int ranks,
            int termsLeftAt,
            int termsRightAt,
            float[] ahead,
            int aheadAt,
            int aheadShare) {
        float[] tile = local.tile;
        int lastAhead = ahead.length - AHEAD_STEP * depth;
        for (int row = 0; row < rows; row += tileRows) {
            int at = tileAt + row * width;
            if (fresh) {
                Arrays.fill(tile, at, at + tileRows * width, 0f);
            }
            int tileRow = Math.min(tileRows, rows - row);
            int next = Math.max(0, Math.min(aheadAt + row / tileRows * aheadShare, lastAhead));
            int from = leftAt + row * LEFT_STRIDE;
            kernels.multiply(tileRow, depth, leftRows, from, rightPanel, rightAt, width, tile, at, ahead, next);
            if (ranks > 0) {
                int termFrom = termsLeftAt + row * LEFT_STRIDE;
                kernels.multiply(
                        tileRow,
                        ranks,
                        local.termsLeft,
                        termFrom,
                        local.termsRight,
                        termsRightAt,
                        width,
                        tile,
                        at,
                        local.termsRight,
                        termsRightAt);
            }
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
