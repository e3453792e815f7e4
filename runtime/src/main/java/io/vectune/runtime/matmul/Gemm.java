package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.MAX_DEPTH;

import io.vectune.runtime.compute.CacheSizes;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// The blocked matrix product of one session, and its buffers.
///
///     c[i, j] (+)= alpha * sum_k left[i, k] * right[k, j]          or c[j, i], the result transposed
///
/// This class cuts a product into spans of a size that can be packed, packs them, and shares out units of the result: see
/// [GemmSpan] for what is where, [GemmUnit] for what a worker does. [LowRankTerms] are one more block of k.
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

    /// Panels packed at a time from rows along the panel: contiguous memory as well.
    private static final int PACK_PANELS = 8;

    /// Multiply-adds below which a product is not worth waking a second thread: about 10 microseconds of one core.
    private static final long SERIAL_BELOW = 1L << 20;

    private enum Phase {
        PACK_LEFT,
        PACK_RIGHT,
        MULTIPLY
    }

    /// Read once: a product inside a region makes a `Gemm` of its own.
    private static final BlockSizes OF_MACHINE = BlockSizes.of(CacheSizes.ofMachine());

    private final TileKernels kernels;
    private final int tileRows;
    private final int panelWidth;
    private final int groupTiles;
    private final int groupPanels;
    private final int unitSums;
    private final GemmSpan span;
    private final TermSources sources;
    private final GemmUnit[] workers;
    private final PackedSides packed = new PackedSides();
    private final Operand firstOperand = new Operand();
    private final Operand secondOperand = new Operand();

    // The region that runs: written before it, read by its workers.
    private Phase phase = Phase.MULTIPLY;
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
        this.span = new GemmSpan(kernels);
        this.sources = new TermSources(kernels, span);
        this.workers = new GemmUnit[threads];
        Arrays.setAll(workers, worker -> new GemmUnit(kernels, span, packed, sources, groupTiles, groupPanels, worker));
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
        int spanDepth = Math.min(k, SPAN_DEPTH);
        int limit = Math.max(MIN_TOKENS, SPAN_ELEMENTS / Math.max(MAX_DEPTH, spanDepth) / tileRows * tileRows);
        int leftSpan = span(left, right, limit);
        int rightSpan = span(right, left, limit / panelWidth * panelWidth);
        span.start(left, right, terms, alpha, result, transposed, accumulate);
        try {
            for (int depth = 0; depth < k || depth == 0; depth += SPAN_DEPTH) {
                int count = Math.min(k - depth, SPAN_DEPTH);
                span.depth(depth, count, depth + count == k);
                reserve(Math.min(right.size(), rightSpan), Math.min(left.size(), leftSpan));
                int packedRow = -1;
                for (int column = 0; column < right.size(); column += rightSpan) {
                    span.columns(column, Math.min(right.size() - column, rightSpan));
                    packRight(team);
                    for (int row = 0; row < left.size(); row += leftSpan) {
                        span.rows(row, Math.min(left.size() - row, leftSpan));
                        if (packedRow != row) {
                            packLeft(team);
                            packedRow = row;
                        }
                        multiply(team);
                    }
                }
            }
        } finally {
            span.end();
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
        int most = Math.clamp(limit, MIN_TOKENS, MAX_TOKENS);
        return roundUp(Math.ceilDiv(size, Math.ceilDiv(size, most)), PACK_ROWS);
    }

    /// Makes room for what is packed of a span of so many columns and rows, and for the panels that workers decode.
    private void reserve(int columns, int rows) {
        long panels =
                span.right().isDecoded()
                        ? (long) workers.length * groupPanels * panelWidth * span.blockDepth()
                        : (long) Math.ceilDiv(columns, panelWidth) * span.panelLength();
        packed.reserve(panels, span.left().isDecoded() ? 0 : span.rowsLength(rows));
    }

    private void packRight(ThreadTeam team) {
        if (span.right().isDecoded()) {
            return;
        }
        sources.packLeftFactors();
        phase = Phase.PACK_RIGHT;
        packPanels = span.right().depthIsRows() ? PACK_PANELS : 1;
        run(team, Math.ceilDiv(span.panels(), packPanels), (long) span.rightCount() * span.depth() * 8);
    }

    private void packLeft(ThreadTeam team) {
        if (span.left().isDecoded()) {
            return;
        }
        sources.packRightFactors();
        phase = Phase.PACK_LEFT;
        run(team, Math.ceilDiv(span.leftCount(), PACK_ROWS), (long) span.leftCount() * span.depth() * 8);
    }

    private void multiply(ThreadTeam team) {
        boolean leftDecoded = span.left().isDecoded();
        boolean rightDecoded = span.right().isDecoded();
        int tiles = span.tiles();
        int columns = span.panels();
        int threads = team.size();
        // With one block of k a tile's sums are done at once; with more, those of a unit wait.
        int sums = span.blocks() == 1 ? 0 : unitSums;
        if (leftDecoded) {
            leftUnits = Math.ceilDiv(tiles, Math.max(groupTiles, sums / columns));
            rightUnits = 1;
        } else if (rightDecoded) {
            leftUnits = 1;
            rightUnits = Math.ceilDiv(columns, Math.max(groupPanels, sums / tiles));
        } else {
            leftUnits = Math.ceilDiv(tiles, groupTiles);
            rightUnits = Math.ceilDiv(columns, Math.max(groupPanels, sums / Math.min(tiles, groupTiles)));
        }
        int wanted = 2 * threads;
        if (leftUnits * rightUnits % threads != 0 || leftUnits * rightUnits < wanted) {
            // Units of equal size, and a multiple of the threads of them: none waits for a last one.
            if (leftDecoded || (!rightDecoded && tiles >= columns)) {
                int most = Math.max(leftUnits, Math.ceilDiv(wanted, rightUnits));
                leftUnits = Math.min(tiles, roundUp(most, threads));
            } else {
                int most = Math.max(rightUnits, Math.ceilDiv(wanted, leftUnits));
                rightUnits = Math.min(columns, roundUp(most, threads));
            }
        }
        phase = Phase.MULTIPLY;
        run(team, leftUnits * rightUnits, (long) span.leftCount() * span.rightCount() * span.depth());
    }

    private void run(ThreadTeam team, int units, long work) {
        team.run(units, work < SERIAL_BELOW ? units : 1, this);
    }

    private static int roundUp(int value, int multiple) {
        return Math.ceilDiv(value, multiple) * multiple;
    }

    @Override
    public void run(int from, int to, int worker) {
        for (int unit = from; unit < to; unit++) {
            switch (phase) {
                case PACK_LEFT -> packLeftUnit(unit, workers[worker]);
                case PACK_RIGHT -> packRightUnit(unit, workers[worker]);
                case MULTIPLY -> multiplyUnit(unit, workers[worker]);
            }
        }
    }

    private void packLeftUnit(int unit, GemmUnit worker) {
        int row = unit * PACK_ROWS;
        worker.packRows(row, Math.min(PACK_ROWS, span.leftCount() - row));
    }

    private void packRightUnit(int unit, GemmUnit worker) {
        int panel = unit * packPanels;
        worker.packPanels(panel, Math.min(panel + packPanels, span.panels()));
    }

    private void multiplyUnit(int unit, GemmUnit worker) {
        int leftUnit = unit % leftUnits;
        int rightUnit = unit / leftUnits;
        // Cut at the ends of a weight's blocks, unless that leaves threads without work.
        int step = Math.ceilDiv(span.panels(), span.panelStep()) < rightUnits ? 1 : span.panelStep();
        worker.multiply(
                GemmUnit.share(span.tiles(), leftUnit, leftUnits),
                GemmUnit.share(span.tiles(), leftUnit + 1, leftUnits),
                GemmUnit.share(span.panels(), rightUnit, rightUnits, step),
                GemmUnit.share(span.panels(), rightUnit + 1, rightUnits, step));
    }
}
