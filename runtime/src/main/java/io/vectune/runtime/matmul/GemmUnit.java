package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.AHEAD_STEP;
import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;

import java.util.Arrays;

/// What one worker does of a span, with its buffers: packs a part of a matrix, or multiplies a unit of the result.
///
/// A unit runs through the blocks of k; in each through groups of panels and groups of left rows, which stay in the
/// second-level cache together. A weight is decoded group by group into the worker's own rows or panels; what is packed
/// is read where it lies. Low-rank terms are multiplied right after the last block, while a tile's sums are in the
/// first-level cache.
final class GemmUnit {
    private final TileKernels kernels;
    private final GemmSpan span;
    private final PackedSides packed;
    private final int tileRows;
    private final int panelWidth;
    private final int groupTiles;
    private final int groupPanels;
    private final TermSources sources;
    private final int worker;

    private final float[] passing = new float[Operand.PASSING];
    private final UnitSums sums;
    private final UnitTerms terms;
    private final ResultRows output;
    private final Scratch decodedRows = new Scratch();
    private final Scratch narrowSums = new Scratch();

    // The unit: tiles of left rows, panels.
    private int tileFrom;
    private int tileTo;
    private int panelFrom;
    private int panelTo;

    /// @param packed what is packed of each side that is no weight, and a block a worker of decoded panels
    /// @param sources of the terms, packed before the panels or the rows
    /// @param groupTiles tiles of a group of left rows, at most
    /// @param groupPanels panels of a group, at most
    GemmUnit(
            TileKernels kernels,
            GemmSpan span,
            PackedSides packed,
            TermSources sources,
            int groupTiles,
            int groupPanels,
            int worker) {
        this.kernels = kernels;
        this.span = span;
        this.packed = packed;
        this.worker = worker;
        this.tileRows = kernels.tileRows();
        this.panelWidth = kernels.panelWidth();
        this.sources = sources;
        this.groupTiles = groupTiles;
        this.groupPanels = groupPanels;
        this.sums = new UnitSums(span, tileRows, panelWidth);
        this.terms = new UnitTerms(kernels, span, passing);
        this.output = new ResultRows(kernels, span, passing);
    }

    /// Packs some rows of the left side, and of its terms, whose narrow sides may have to be computed first.
    void packRows(int row, int rows) {
        int from = span.leftFrom() + row;
        span.left().load(from, rows, span.depthFrom(), span.depth());
        for (int block = 0; block < span.packedBlocks(); block++) {
            if (span.isTerms(block)) {
                sources.computeOfRows(row, rows, packed, narrowSums);
            }
            Operand source = span.isTerms(block) ? span.leftTerms() : span.left();
            int depthFrom = span.operandDepth(block);
            int depth = span.depthOf(block);
            int at = packed.rowsAt() + span.rowsAt(block, row);
            source.toRows(kernels, from, rows, depthFrom, depth, packed.array(), at, LEFT_STRIDE, passing);
        }
    }

    /// Packs some panels of the right side, and of its terms, whose narrow sides may have to be computed first.
    void packPanels(int panel, int panelEnd) {
        int from = span.rightFrom() + panel * panelWidth;
        int columns = span.columnsOf(panel, panelEnd);
        int length = span.panelLength();
        span.right().load(from, columns, span.depthFrom(), span.depth());
        for (int block = 0; block < span.packedBlocks(); block++) {
            if (span.isTerms(block)) {
                for (int each = panel; each < panelEnd; each++) {
                    sources.computeOfPanel(each, packed, narrowSums, passing);
                }
            }
            Operand source = span.isTerms(block) ? span.rightTerms() : span.right();
            int depthFrom = span.operandDepth(block);
            int depth = span.depthOf(block);
            int first = span.packedDepth(block);
            source.toPanels(
                    kernels,
                    from,
                    columns,
                    depthFrom,
                    depth,
                    packed.array(),
                    PackedSides.START + panel * length,
                    length,
                    first,
                    passing);
        }
    }

    /// Multiplies the tiles [tile, tileEnd) with the panels [panel, panelEnd), and writes the result.
    void multiply(int tile, int tileEnd, int panel, int panelEnd) {
        if (tile == tileEnd || panel == panelEnd) {
            return;
        }
        tileFrom = tile;
        tileTo = tileEnd;
        panelFrom = panel;
        panelTo = panelEnd;
        if (span.blocks() > 1) {
            sums.hold(tileFrom, tileTo, panelFrom, panelTo);
        }
        for (int block = 0; block < span.blocks(); block++) {
            if (isLast(block) && span.accumulate()) {
                output.load(tileFrom, tileTo, panelFrom, panelTo);
            }
            if (span.right().isDecoded()) {
                multiplyDecodedPanels(block);
            } else {
                multiplyPackedPanels(block);
            }
        }
    }

    private boolean isLast(int block) {
        return block == span.blocks() - 1;
    }

    /// One block of k: each group of panels is decoded once, and all rows pass it.
    private void multiplyDecodedPanels(int block) {
        int groups = Math.ceilDiv(panelTo - panelFrom, groupPanels);
        for (int group = 0; group < groups; group++) {
            int panel = panelFrom + share(panelTo - panelFrom, group, groups, span.panelStep());
            int panelEnd = panelFrom + share(panelTo - panelFrom, group + 1, groups, span.panelStep());
            decodePanels(panel, panelEnd, block);
            if (isLast(block)) {
                terms.decodePanels(panel, panelEnd);
            }
            int rowGroups = Math.ceilDiv(tileTo - tileFrom, groupTiles);
            for (int rows = 0; rows < rowGroups; rows++) {
                int tile = tileFrom + share(tileTo - tileFrom, rows, rowGroups);
                int tileEnd = tileFrom + share(tileTo - tileFrom, rows + 1, rowGroups);
                multiplyGroup(tile, tileEnd, panel, panelEnd, block);
            }
        }
    }

    /// One block of k: each group of rows is decoded once, if it is a weight's, and all panels pass it.
    private void multiplyPackedPanels(int block) {
        int rowGroups = Math.ceilDiv(tileTo - tileFrom, groupTiles);
        for (int rows = 0; rows < rowGroups; rows++) {
            int tile = tileFrom + share(tileTo - tileFrom, rows, rowGroups);
            int tileEnd = tileFrom + share(tileTo - tileFrom, rows + 1, rowGroups);
            if (span.left().isDecoded()) {
                decodeRows(tile, tileEnd, block);
                if (isLast(block)) {
                    terms.decodeRows(tile, tileEnd);
                }
            }
            int groups = Math.ceilDiv(panelTo - panelFrom, groupPanels);
            for (int group = 0; group < groups; group++) {
                int panel = panelFrom + share(panelTo - panelFrom, group, groups);
                int panelEnd = panelFrom + share(panelTo - panelFrom, group + 1, groups);
                multiplyGroup(tile, tileEnd, panel, panelEnd, block);
            }
        }
    }

    private void decodeRows(int tile, int tileEnd, int block) {
        float[] target = decodedRows.ofLength(Math.toIntExact((long) (tileEnd - tile) * tileRows * LEFT_STRIDE));
        int row = span.leftFrom() + tile * tileRows;
        int rows = span.rowsOf(tile, tileEnd);
        int from = span.operandDepth(block);
        span.left().toRows(kernels, row, rows, from, span.depthOf(block), target, 0, LEFT_STRIDE, passing);
    }

    private void decodePanels(int panel, int panelEnd, int block) {
        int length = panelWidth * span.blockDepth();
        int column = span.rightFrom() + panel * panelWidth;
        int columns = span.columnsOf(panel, panelEnd);
        int from = span.operandDepth(block);
        int depth = span.depthOf(block);
        int at = decodedAt();
        span.right().toPanels(kernels, column, columns, from, depth, packed.array(), at, length, 0, passing);
    }

    /// Where this worker's block of decoded panels begins.
    private int decodedAt() {
        return PackedSides.START + worker * groupPanels * panelWidth * span.blockDepth();
    }

    /// The tiles [tile, tileEnd) times the panels [panelFrom, panelEnd) over one block of k; after the last block their
    /// sums are written.
    private void multiplyGroup(int tile, int tileEnd, int panelFrom, int panelEnd, int block) {
        boolean transposed = span.transposed();
        if (span.blocks() == 1 && !transposed) {
            sums.hold(tile, tileEnd, panelFrom, panelEnd);
        }
        for (int panel = panelFrom; panel < panelEnd; panel++) {
            if (span.blocks() == 1 && transposed) {
                sums.hold(tile, tileEnd, panel, panel + 1);
            }
            if (span.right().isDecoded()) {
                multiplyDecodedPanel(tile, tileEnd, panel, panelFrom, panelEnd, block);
            } else {
                multiplyPackedPanel(tile, tileEnd, panel, block);
            }
            if (isLast(block) && transposed) {
                output.writeTransposed(tile, tileEnd, panel, sums);
            }
        }
        if (isLast(block) && !transposed) {
            output.write(tile, tileEnd, panelFrom, panelEnd, sums);
        }
    }

    /// Packed rows pass a decoded panel. Each panel reads ahead its share of the next rows.
    private void multiplyDecodedPanel(int tile, int tileEnd, int panel, int panelFrom, int panelEnd, int block) {
        float[] array = packed.array();
        int row = tile * tileRows;
        int index = panel - panelFrom;
        int nextTile = tileEnd < tileTo ? block * span.tiles() + tileEnd : (block + 1) * span.tiles();
        int passed = (tileEnd - tile) * tileRows * LEFT_STRIDE / (panelEnd - panelFrom);
        multiplyTiles(
                tile,
                tileEnd,
                panel,
                block,
                array,
                packed.rowsAt() + span.rowsAt(block, row),
                decodedAt() + index * panelWidth * span.blockDepth(),
                array,
                packed.rowsAt() + span.rowsAt(span.blocks(), row) + terms.rankFrom(),
                terms.decoded(),
                index * panelWidth * terms.ranks(),
                packed.rowsAt() + nextTile * tileRows * LEFT_STRIDE + index * passed,
                passed / (tileEnd - tile));
    }

    /// Rows pass a packed panel, and read ahead the next one: of this block, for the next rows, or of the next block.
    private void multiplyPackedPanel(int tile, int tileEnd, int panel, int block) {
        float[] array = packed.array();
        boolean decoded = span.left().isDecoded();
        int width = span.widthOf(panel);
        int length = span.panelLength();
        int count = span.depthOf(block);
        int first = PackedSides.START + panel * length;
        int at = first + span.packedDepth(block) * width;
        int nextDepth = span.packedDepth(block) + (tileEnd == tileTo ? count : 0);
        multiplyTiles(
                tile,
                tileEnd,
                panel,
                block,
                decoded ? decodedRows.array() : array,
                decoded ? 0 : packed.rowsAt() + span.rowsAt(block, tile * tileRows),
                at,
                terms.decoded(),
                0,
                array,
                first + (span.depth() + terms.rankFrom()) * width,
                panel + 1 < panelTo ? at + length : PackedSides.START + panelFrom * length + nextDepth * panelWidth,
                width * count / (tileEnd - tile));
    }

    /// One block of k, and after the last one the low-rank terms, for some tiles and one panel of [PackedSides].
    ///
    /// @param aheadAt where the tiles read ahead in the packed sides: a share each, one behind the other
    private void multiplyTiles(
            int tile,
            int tileEnd,
            int panel,
            int block,
            float[] rows,
            int rowsAt,
            int panelAt,
            float[] termRows,
            int termRowsAt,
            float[] termPanels,
            int termPanelAt,
            int aheadAt,
            int aheadShare) {
        int count = span.rowsOf(tile, tileEnd);
        int depth = span.depthOf(block);
        int ranks = isLast(block) ? terms.ranks() : 0;
        int width = span.widthOf(panel);
        float[] panels = packed.array();
        float[] target = sums.array();
        int targetAt = sums.at(tile, panel);
        int lastAhead = Math.max(0, panels.length - AHEAD_STEP * depth);
        for (int row = 0; row < count; row += tileRows) {
            int at = targetAt + row * width;
            if (block == 0) {
                Arrays.fill(target, at, at + tileRows * width, 0f);
            }
            int tall = Math.min(tileRows, count - row);
            int ahead = Math.min(aheadAt + row / tileRows * aheadShare, lastAhead);
            int from = rowsAt + row * LEFT_STRIDE;
            kernels.multiply(tall, depth, rows, from, panels, panelAt, width, target, at, ahead);
            if (ranks > 0) {
                int termFrom = termRowsAt + row * LEFT_STRIDE;
                kernels.multiply(
                        tall, ranks, termRows, termFrom, termPanels, termPanelAt, width, target, at, termPanelAt);
            }
        }
    }

    /// As [#share(int, int, int)], cut at multiples of a step.
    static int share(int size, int part, int parts, int step) {
        return Math.min(size, share(Math.ceilDiv(size, step), part, parts) * step);
    }

    /// Where a part starts. The first parts are the larger ones: threads that take them in turns end together.
    static int share(int size, int part, int parts) {
        return part * (size / parts) + Math.min(part, size % parts);
    }
}
