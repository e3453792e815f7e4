package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.AHEAD_STEP;
import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;
import static io.vectune.runtime.matmul.TileKernels.MAX_DEPTH;

import io.vectune.runtime.compute.CacheSizes;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The blocked matrix product of one session, and its buffers.
///
///     c[i, j] (+)= alpha * sum_k left[i, k] * right[k, j]          or c[j, i], the result transposed
///
/// [LowRankTerms] are one more block of k, multiplied right after the last of the others, while a tile's sums are in the
/// first-level cache. A group of rows or panels takes the ranks that its part of the weight needs.
///
/// Left and right are [Operand]s: matrices in either orientation, packed once a product into the form the kernels read,
/// or weights, decoded block by block into the cache of the thread that multiplies with them. Blocks: k in equal steps of
/// at most [TileKernels#MAX_DEPTH]; output in units, as large as [BlockSizes] has them, which are what the threads share
/// out, so that each block of a weight is decoded by one thread, once for all tokens of a span.
///
/// Which thread computes a unit, and how large the units are, does not change a bit: see [TileKernels].
///
/// Memory: at most 16 MiB of packed elements a side and about 3 MiB a thread, kept for the next product; nothing else is
/// allocated. Not for use by two threads at once.
final class Gemm implements ThreadTeam.Task {
    /// Depth packed at a time: bounds the packed copies; longer sums are added up in the result, span by span.
    static final int SPAN_DEPTH = 8192;

    /// The most tokens multiplied at a time with a decoded weight: each span of tokens decodes the weight once.
    private static final int MAX_TOKENS = 1024;

    /// The fewest, however long their rows are: enough to hide the decoding.
    private static final int MIN_TOKENS = 512;

    /// Floats packed of one side at a time.
    private static final int SPAN_ELEMENTS = 1 << 22;

    /// Columns of a weight decoded at a time: a row of them is some whole groups of a quantized weight, and contiguous
    /// memory enough to read at full speed.
    private static final int DECODED_COLUMNS = Math.min(256, Operand.MAX_COLUMNS);

    /// Left rows packed at a time, whole tiles of every tier.
    private static final int PACK_ROWS = 48;

    /// Rows of the result that are scaled or transposed at a time on the way out.
    private static final int WRITE_ROWS = 16;

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

        // The unit: tiles of left rows, panels.
        private int tileFrom;
        private int tileTo;
        private int panelFrom;
        private int panelTo;

        private final float[] passing = new float[Operand.PASSING];
        private final float[] before = new float[Operand.PASSING];

        // The low-rank terms of a group of rows or panels: how many ranks, the first of them, and those decoded.
        private int ranks;
        private int rankFrom;
        private float[] termRows = new float[0];
        private float[] termPanels = new float[0];
    }

    private static final Operand NONE = new Operand();

    /// Read once: a product inside a region makes a `Gemm` of its own.
    private static final BlockSizes OF_MACHINE = BlockSizes.of(CacheSizes.ofMachine());

    private final TileKernels kernels;
    private final int tileRows;
    private final int panelWidth;
    private final int groupTiles;
    private final int groupPanels;
    private final int unitSums;
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
        this(threads, kernels, OF_MACHINE);
    }

    Gemm(int threads, TileKernels kernels, BlockSizes sizes) {
        this.kernels = kernels;
        this.tileRows = kernels.tileRows();
        this.panelWidth = kernels.panelWidth();
        this.groupTiles = Math.max(1, sizes.groupRows() / tileRows);
        this.groupPanels = Math.max(1, DECODED_COLUMNS / panelWidth);
        this.unitSums = sizes.unitSums() / (tileRows * panelWidth);
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
        int limit = Math.max(MIN_TOKENS, SPAN_ELEMENTS / Math.max(MAX_DEPTH, spanDepth) / tileRows * tileRows);
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
    /// equal spans of tokens against a weight.
    private static int span(Operand operand, Operand other, int limit) {
        int size = Math.max(1, operand.size());
        if (operand.isDecoded()) {
            return size;
        }
        if (!other.isDecoded()) {
            return limit;
        }
        int most = Math.max(MIN_TOKENS, Math.min(MAX_TOKENS, limit));
        return roundUp(units(size, units(size, most)), PACK_ROWS);
    }

    private void packRight(ThreadTeam team) {
        if (right.isDecoded()) {
            return;
        }
        packedRight = grown(packedRight, (long) panels * panelWidth * (depth + termDepth));
        phase = Phase.PACK_RIGHT;
        packPanels = right.depthIsRows() ? PACK_PANELS : 1;
        run(team, units(panels, packPanels), (long) rightCount * depth * 8);
    }

    private void packLeft(ThreadTeam team) {
        if (left.isDecoded()) {
            return;
        }
        packedLeft = grown(packedLeft, (long) tiles * tileRows * blocks * LEFT_STRIDE);
        phase = Phase.PACK_LEFT;
        run(team, units(leftCount, PACK_ROWS), (long) leftCount * depth * 8);
    }

    private void multiply(ThreadTeam team) {
        int threads = team.size();
        // With one block of k a tile's sums are done at once; with more, those of a unit wait in the tile buffer.
        int sums = depthBlocks == 1 ? 0 : unitSums;
        if (left.isDecoded()) {
            leftUnits = units(tiles, Math.max(groupTiles, sums / panels));
            rightUnits = 1;
        } else if (right.isDecoded()) {
            leftUnits = 1;
            rightUnits = units(panels, Math.max(groupPanels, sums / tiles));
        } else {
            leftUnits = units(tiles, groupTiles);
            rightUnits = units(panels, Math.max(groupPanels, sums / Math.min(tiles, groupTiles)));
        }
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
        int row = unit * PACK_ROWS;
        int rows = Math.min(PACK_ROWS, leftCount - row);
        left.load(leftFrom + row, rows, depthFrom, depth);
        for (int block = 0; block < blocks; block++) {
            Operand source = isTerms(block) ? leftTerms : left;
            source.toRows(
                    kernels,
                    leftFrom + row,
                    rows,
                    operandDepth(block),
                    depthOf(block),
                    packedLeft,
                    (block * tiles * tileRows + row) * LEFT_STRIDE,
                    LEFT_STRIDE,
                    local.passing);
        }
    }

    private void packRightUnit(int unit, Local local) {
        int panel = unit * packPanels;
        int column = panel * panelWidth;
        int columns = Math.min(packPanels * panelWidth, rightCount - column);
        int panelLength = panelWidth * (depth + termDepth);
        right.load(rightFrom + column, columns, depthFrom, depth);
        for (int block = 0; block < blocks; block++) {
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
    }

    /// One unit of the result: for each block of k, groups of right panels and groups of left rows that stay in the
    /// second-level cache together.
    private void multiplyUnit(int unit, Local local) {
        int leftUnit = unit % leftUnits;
        int rightUnit = unit / leftUnits;
        local.tileFrom = share(tiles, leftUnit, leftUnits);
        local.tileTo = share(tiles, leftUnit + 1, leftUnits);
        local.panelFrom = share(panels, rightUnit, rightUnits);
        local.panelTo = share(panels, rightUnit + 1, rightUnits);
        int unitTiles = local.tileTo - local.tileFrom;
        int unitPanels = local.panelTo - local.panelFrom;
        int rowGroups = units(unitTiles, groupTiles);
        int panelGroups = units(unitPanels, groupPanels);
        reserve(local, units(unitTiles, rowGroups), units(unitPanels, panelGroups));
        for (int block = 0; block < depthBlocks; block++) {
            boolean lastBlock = block == depthBlocks - 1;
            if (lastBlock && accumulate) {
                loadResult(local);
            }
            if (right.isDecoded()) {
                for (int group = 0; group < panelGroups; group++) {
                    int panel = local.panelFrom + share(unitPanels, group, panelGroups);
                    int panelEnd = local.panelFrom + share(unitPanels, group + 1, panelGroups);
                    decodeRight(local, panel, panelEnd, block);
                    if (lastBlock) {
                        decodeRightTerms(local, panel, panelEnd);
                    }
                    for (int rows = 0; rows < rowGroups; rows++) {
                        int tile = local.tileFrom + share(unitTiles, rows, rowGroups);
                        int tileEnd = local.tileFrom + share(unitTiles, rows + 1, rowGroups);
                        multiplyGroup(local, tile, tileEnd, panel, panelEnd, block);
                    }
                }
            } else {
                for (int rows = 0; rows < rowGroups; rows++) {
                    int tile = local.tileFrom + share(unitTiles, rows, rowGroups);
                    int tileEnd = local.tileFrom + share(unitTiles, rows + 1, rowGroups);
                    if (left.isDecoded()) {
                        decodeLeft(local, tile, tileEnd, block);
                        if (lastBlock) {
                            decodeLeftTerms(local, tile, tileEnd);
                        }
                    }
                    for (int group = 0; group < panelGroups; group++) {
                        int panel = local.panelFrom + share(unitPanels, group, panelGroups);
                        int panelEnd = local.panelFrom + share(unitPanels, group + 1, panelGroups);
                        multiplyGroup(local, tile, tileEnd, panel, panelEnd, block);
                    }
                }
            }
        }
    }

    private void reserve(Local local, int rowTiles, int columnPanels) {
        int unitTiles = local.tileTo - local.tileFrom;
        int unitPanels = local.panelTo - local.panelFrom;
        long sums = depthBlocks == 1 ? (long) rowTiles * columnPanels : (long) unitTiles * unitPanels;
        local.tile = grown(local.tile, sums * tileRows * panelWidth);
        if (left.isDecoded()) {
            local.left = grown(local.left, (long) rowTiles * tileRows * LEFT_STRIDE);
        }
        if (right.isDecoded()) {
            local.right = grown(local.right, (long) columnPanels * panelWidth * blockDepth);
        }
    }

    private void decodeLeft(Local local, int tile, int tileEnd, int block) {
        int row = tile * tileRows;
        left.toRows(
                kernels,
                leftFrom + row,
                Math.min(leftCount, tileEnd * tileRows) - row,
                operandDepth(block),
                depthOf(block),
                local.left,
                0,
                LEFT_STRIDE,
                local.passing);
    }

    private void decodeRight(Local local, int panel, int panelEnd, int block) {
        int column = panel * panelWidth;
        right.toPanels(
                kernels,
                rightFrom + column,
                Math.min(rightCount, panelEnd * panelWidth) - column,
                operandDepth(block),
                depthOf(block),
                local.right,
                0,
                panelWidth * blockDepth,
                0,
                local.passing);
    }

    /// The tiles [tile, tileEnd) of left rows times the panels [panelFrom, panelEnd) over one block of k.
    private void multiplyGroup(Local local, int tile, int tileEnd, int panelFrom, int panelEnd, int block) {
        boolean lastBlock = block == depthBlocks - 1;
        int count = depthOf(block);
        int row = tile * tileRows;
        int rows = Math.min(leftCount, tileEnd * tileRows) - row;
        int panelLength = panelWidth * (depth + termDepth);
        float[] leftRows = left.isDecoded() ? local.left : packedLeft;
        int leftAt = left.isDecoded() ? 0 : (block * tiles * tileRows + row) * LEFT_STRIDE;
        int ranks = lastBlock && termDepth > 0 ? local.ranks : 0;
        float[] termRows = left.isDecoded() ? local.termRows : packedLeft;
        int termRowsAt = left.isDecoded() ? 0 : (depthBlocks * tiles * tileRows + row) * LEFT_STRIDE + local.rankFrom;
        float[] termPanels = right.isDecoded() ? local.termPanels : packedRight;
        for (int panel = panelFrom; panel < panelEnd; panel++) {
            int column = panel * panelWidth;
            int width = kernels.width(Math.min(rightCount - column, panelWidth));
            int panelAt = panel * panelLength + packedDepth(block) * width;
            float[] rightPanel = packedRight;
            int rightAt = panelAt;
            float[] ahead = packedRight;
            int aheadAt;
            int aheadShare;
            if (right.isDecoded()) {
                rightPanel = local.right;
                rightAt = (panel - panelFrom) * panelWidth * blockDepth;
                // Each panel passes a share of the next rows.
                int nextRow = tileEnd < local.tileTo ? block * tiles + tileEnd : (block + 1) * tiles;
                int passed = (tileEnd - tile) * tileRows * LEFT_STRIDE / (panelEnd - panelFrom);
                ahead = packedLeft;
                aheadAt = nextRow * tileRows * LEFT_STRIDE + (panel - panelFrom) * passed;
                aheadShare = passed / (tileEnd - tile);
            } else {
                // The rows pass the next panel: of this block, for the next rows, or of the next block.
                boolean lastRows = tileEnd == local.tileTo;
                aheadAt =
                        panel + 1 < local.panelTo
                                ? panelAt + panelLength
                                : local.panelFrom * panelLength
                                        + (packedDepth(block) + (lastRows ? count : 0)) * panelWidth;
                aheadShare = width * count / (tileEnd - tile);
            }
            multiplyTiles(
                    local,
                    rows,
                    count,
                    leftRows,
                    leftAt,
                    rightPanel,
                    rightAt,
                    width,
                    sumsAt(local, tile, tileEnd, panel, panelFrom),
                    block == 0,
                    ranks,
                    termRows,
                    termRowsAt,
                    termPanels,
                    termPanelAt(local, panel, panelFrom, width),
                    ahead,
                    aheadAt,
                    aheadShare);
            if (lastBlock && transposed) {
                writeTransposed(local, tile, tileEnd, panel, panelFrom);
            }
        }
        if (lastBlock && !transposed) {
            write(local, tile, tileEnd, panelFrom, panelEnd);
        }
    }

    /// Where the sums of a panel and the rows from a tile on lie in the tile buffer: of a group alone, or of the unit.
    private int sumsAt(Local local, int tile, int tileEnd, int panel, int panelFrom) {
        if (depthBlocks == 1) {
            return transposed ? 0 : (panel - panelFrom) * (tileEnd - tile) * tileRows * panelWidth;
        }
        int width = kernels.width(Math.min(rightCount - panel * panelWidth, panelWidth));
        int unitTiles = local.tileTo - local.tileFrom;
        return (panel - local.panelFrom) * unitTiles * tileRows * panelWidth
                + (tile - local.tileFrom) * tileRows * width;
    }

    /// The low-rank terms beside some rows of a weight.
    private void decodeLeftTerms(Local local, int tile, int tileEnd) {
        int row = tile * tileRows;
        int rows = Math.min(leftCount, tileEnd * tileRows) - row;
        if (findRanks(local, leftFrom + row, rows)) {
            local.termRows = grown(local.termRows, (long) (tileEnd - tile) * tileRows * LEFT_STRIDE);
            leftTerms.toRows(
                    kernels,
                    leftFrom + row,
                    rows,
                    local.rankFrom,
                    local.ranks,
                    local.termRows,
                    0,
                    LEFT_STRIDE,
                    local.passing);
        }
    }

    /// The low-rank terms below some columns of a weight.
    private void decodeRightTerms(Local local, int panel, int panelEnd) {
        int column = panel * panelWidth;
        int columns = Math.min(rightCount, panelEnd * panelWidth) - column;
        if (findRanks(local, rightFrom + column, columns)) {
            int panelLength = panelWidth * local.ranks;
            local.termPanels = grown(local.termPanels, (long) (panelEnd - panel) * panelLength);
            rightTerms.toPanels(
                    kernels,
                    rightFrom + column,
                    columns,
                    local.rankFrom,
                    local.ranks,
                    local.termPanels,
                    0,
                    panelLength,
                    0,
                    local.passing);
        }
    }

    /// Finds the ranks that a part of the weight takes of the low-rank terms; whether there are any.
    private boolean findRanks(Local local, int from, int count) {
        LowRankTerms added = terms;
        if (added == null || termDepth == 0) {
            local.ranks = 0;
            return false;
        }
        local.rankFrom = added.rankFrom(from, from + count);
        local.ranks = added.rankTo(from, from + count) - local.rankFrom;
        return local.ranks > 0;
    }

    /// Where the ranks of a group start in a panel of the low-rank terms.
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
            float[] termRows,
            int termRowsAt,
            float[] termPanels,
            int termPanelAt,
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
                int termFrom = termRowsAt + row * LEFT_STRIDE;
                kernels.multiply(
                        tileRow,
                        ranks,
                        termRows,
                        termFrom,
                        termPanels,
                        termPanelAt,
                        width,
                        tile,
                        at,
                        termPanels,
                        termPanelAt);
            }
        }
    }

    /// Loads what a unit is going to add to, in runs as long as the unit is wide: it is read in shorter pieces.
    private void loadResult(Local local) {
        Matrix target = result();
        int row = local.tileFrom * tileRows;
        int column = local.panelFrom * panelWidth;
        int rows = Math.min(leftCount, local.tileTo * tileRows) - row;
        int columns = Math.min(rightCount, local.panelTo * panelWidth) - column;
        if (transposed) {
            CacheFill.load(target, rightFrom + column, columns, leftFrom + row, rows);
        } else {
            CacheFill.load(target, leftFrom + row, rows, rightFrom + column, columns);
        }
    }

    /// Sums of one panel to the rows of the result that its columns are.
    private void writeTransposed(Local local, int tile, int tileEnd, int panel, int panelFrom) {
        int row = tile * tileRows;
        int rows = Math.min(leftCount, tileEnd * tileRows) - row;
        int column = panel * panelWidth;
        int columns = Math.min(rightCount - column, panelWidth);
        int width = kernels.width(columns);
        int from = sumsAt(local, tile, tileEnd, panel, panelFrom);
        int stride = rows + Operand.PASSING_PAD;
        int step = Math.max(1, Math.min(WRITE_ROWS, Operand.PASSING / stride));
        for (int first = 0; first < columns; first += step) {
            int count = Math.min(step, columns - first);
            kernels.transpose(local.tile, from + first, width, rows, count, local.passing, 0, stride);
            writeRows(local, rightFrom + column + first, count, leftFrom + row, rows, stride);
        }
    }

    /// Sums of a group of panels to the rows of the result, side by side.
    private void write(Local local, int tile, int tileEnd, int panelFrom, int panelEnd) {
        int row = tile * tileRows;
        int rows = Math.min(leftCount, tileEnd * tileRows) - row;
        int column = panelFrom * panelWidth;
        int columns = Math.min(rightCount, panelEnd * panelWidth) - column;
        int stride = columns + Operand.PASSING_PAD;
        for (int first = 0; first < rows; first += WRITE_ROWS) {
            int count = Math.min(WRITE_ROWS, rows - first);
            for (int panel = panelFrom; panel < panelEnd; panel++) {
                int at = (panel - panelFrom) * panelWidth;
                int panelColumns = Math.min(columns - at, panelWidth);
                int width = kernels.width(panelColumns);
                int from = sumsAt(local, tile, tileEnd, panel, panelFrom) + first * width;
                kernels.copy(local.tile, from, width, count, panelColumns, local.passing, at, stride);
            }
            writeRows(local, leftFrom + row + first, count, rightFrom + column, columns, stride);
        }
    }

    /// result[row + i, column + j] (+)= alpha * passing[i * stride + j].
    private void writeRows(Local local, int row, int rows, int column, int columns, int stride) {
        Matrix target = result();
        float[] values = local.passing;
        for (int i = 0; i < rows; i++) {
            long at = target.rowOffset(row + i) + 4L * column;
            int from = i * stride;
            if (alpha != 1) {
                kernels.scale(alpha, values, from, columns);
            }
            if (accumulate) {
                MemorySegment.copy(target.segment(), Tensor.FLOAT, at, local.before, 0, columns);
                kernels.add(local.before, values, from, columns);
            }
            MemorySegment.copy(values, from, target.segment(), Tensor.FLOAT, at, columns);
        }
    }

    private Matrix result() {
        Matrix target = result;
        if (target == null) {
            throw new IllegalStateException("no product is running");
        }
        return target;
    }

    /// Where a part starts. The first parts are the larger ones: threads that take them in turns end together.
    private static int share(int size, int part, int parts) {
        return part * (size / parts) + Math.min(part, size % parts);
    }
}
