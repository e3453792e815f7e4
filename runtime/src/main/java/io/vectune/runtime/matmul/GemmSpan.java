package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;
import static io.vectune.runtime.matmul.TileKernels.MAX_DEPTH;

import io.vectune.runtime.tensor.Matrix;
import org.jspecify.annotations.Nullable;

/// The product that runs in a [Gemm], and the span of it that the threads share out:
///
///     rows [leftFrom, +leftCount) x columns [rightFrom, +rightCount), summed over k in [depthFrom, +depth)
///
/// Rows are counted in tiles, columns in panels, k in blocks of equal depth; low-rank terms are one more block after the
/// last. Also how the packed sides lie in memory: rows block by block, panels one after the other, each over all of k.
///
/// Written before a region, read by its workers.
final class GemmSpan {
    private static final Operand NONE = new Operand();

    /// What the depth of a block is a multiple of: the usual group size of quantized weights, or what a weight asks
    /// for.
    private static final int DEPTH_STEP = 64;

    private final TileKernels kernels;
    private final int tileRows;
    private final int panelWidth;

    // The product.
    private Operand left = NONE;
    private Operand right = NONE;
    private final Operand leftTerms = new Operand();
    private final Operand rightTerms = new Operand();
    private @Nullable LowRankTerms terms;
    private @Nullable Matrix result;
    private boolean transposed;
    private float alpha;
    private boolean adds;

    // The span.
    private int leftFrom;
    private int leftCount;
    private int tiles;
    private int rightFrom;
    private int rightCount;
    private int panels;
    private int depthFrom;
    private int depth;
    private int blockDepth;
    private int blocks;
    private int termDepth;
    private boolean accumulate;

    GemmSpan(TileKernels kernels) {
        this.kernels = kernels;
        this.tileRows = kernels.tileRows();
        this.panelWidth = kernels.panelWidth();
    }

    /// A product begins: see [Gemm#product].
    void start(
            Operand left,
            Operand right,
            @Nullable LowRankTerms terms,
            float alpha,
            Matrix result,
            boolean transposed,
            boolean adds) {
        this.left = left;
        this.right = right;
        this.terms = terms;
        if (terms != null) {
            leftTerms.of(terms, right.isDecoded(), left);
            rightTerms.of(terms, left.isDecoded(), right);
        }
        this.alpha = alpha;
        this.result = result;
        this.transposed = transposed;
        this.adds = adds;
    }

    /// The product is done: lets go of its memory.
    void end() {
        left.clear();
        right.clear();
        leftTerms.clear();
        rightTerms.clear();
        left = NONE;
        right = NONE;
        terms = null;
        result = null;
    }

    /// k in [from, +count), in blocks of equal depth, of whole groups of a quantized weight: no short last block.
    ///
    /// @param last whether these are the last k: the terms follow them
    void depth(int from, int count, boolean last) {
        depthFrom = from;
        depth = count;
        int step = depthStep();
        int fewest = Math.max(1, Math.ceilDiv(count, MAX_DEPTH / step * step));
        int even = Math.ceilDiv(Math.ceilDiv(count, fewest), step) * step;
        blockDepth = Math.clamp(even, 1, MAX_DEPTH);
        blocks = Math.max(1, Math.ceilDiv(count, blockDepth));
        termDepth = terms != null && last ? terms.rank() : 0;
        accumulate = adds || from > 0;
    }

    /// A weight on the left is cut along its columns by the blocks of k: at the ends of its own blocks, if that leaves
    /// blocks of k of a useful depth.
    private int depthStep() {
        int block = Math.max(left.blockColumns(), 1);
        return left.depthIsRows() || block <= DEPTH_STEP || block > MAX_DEPTH ? DEPTH_STEP : block;
    }

    /// Panels that a weight on the right should be cut at multiples of.
    int panelStep() {
        return right.depthIsRows() ? Math.max(1, right.blockColumns() / panelWidth) : 1;
    }

    void rows(int from, int count) {
        leftFrom = from;
        leftCount = count;
        tiles = Math.ceilDiv(count, tileRows);
    }

    void columns(int from, int count) {
        rightFrom = from;
        rightCount = count;
        panels = Math.ceilDiv(count, panelWidth);
    }

    Operand left() {
        return left;
    }

    Operand right() {
        return right;
    }

    Operand leftTerms() {
        return leftTerms;
    }

    Operand rightTerms() {
        return rightTerms;
    }

    /// The terms of this span of k, if it has any.
    @Nullable LowRankTerms terms() {
        return termDepth > 0 ? terms : null;
    }

    Matrix result() {
        Matrix target = result;
        if (target == null) {
            throw new IllegalStateException("no product is running");
        }
        return target;
    }

    boolean transposed() {
        return transposed;
    }

    float alpha() {
        return alpha;
    }

    /// Whether the span adds to the result.
    boolean accumulate() {
        return accumulate;
    }

    int leftFrom() {
        return leftFrom;
    }

    int leftCount() {
        return leftCount;
    }

    int tiles() {
        return tiles;
    }

    int rightFrom() {
        return rightFrom;
    }

    int rightCount() {
        return rightCount;
    }

    int panels() {
        return panels;
    }

    int depthFrom() {
        return depthFrom;
    }

    int depth() {
        return depth;
    }

    /// Blocks of k, without that of the terms.
    int blocks() {
        return blocks;
    }

    /// Depth of all blocks of k but the last.
    int blockDepth() {
        return blockDepth;
    }

    /// Blocks that are packed: those of k and that of the terms.
    int packedBlocks() {
        return termDepth == 0 ? blocks : blocks + 1;
    }

    /// Whether a block of k is that of the low-rank terms.
    boolean isTerms(int block) {
        return block == blocks;
    }

    /// Length of a block of k.
    int depthOf(int block) {
        return isTerms(block) ? termDepth : Math.min(blockDepth, depth - block * blockDepth);
    }

    /// First k of a block in its operand.
    int operandDepth(int block) {
        return isTerms(block) ? 0 : depthFrom + block * blockDepth;
    }

    /// First k of a block in the packed panels.
    int packedDepth(int block) {
        return isTerms(block) ? depth : block * blockDepth;
    }

    /// Rows of the tiles [tile, tileEnd).
    int rowsOf(int tile, int tileEnd) {
        return Math.min(leftCount, tileEnd * tileRows) - tile * tileRows;
    }

    /// Columns of the panels [panel, panelEnd).
    int columnsOf(int panel, int panelEnd) {
        return Math.min(rightCount, panelEnd * panelWidth) - panel * panelWidth;
    }

    /// Width of a panel: the last one may be narrow.
    int widthOf(int panel) {
        return kernels.width(columnsOf(panel, panel + 1));
    }

    /// Floats of so many packed left rows.
    long rowsLength(int rows) {
        return (long) Math.ceilDiv(rows, tileRows) * tileRows * packedBlocks() * LEFT_STRIDE;
    }

    /// Where the rows of a block of k lie behind the first packed left row, from a row on.
    int rowsAt(int block, int row) {
        return (block * tiles * tileRows + row) * LEFT_STRIDE;
    }

    /// Floats of a packed panel.
    int panelLength() {
        return panelWidth * (depth + termDepth);
    }
}
