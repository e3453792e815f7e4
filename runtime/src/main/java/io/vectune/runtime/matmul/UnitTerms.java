package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;

/// The low-rank terms beside the part of a weight that a unit multiplies: some more k of its sums, only those ranks
/// that reach into this part. The tokens' side of them is packed with the tokens.
final class UnitTerms {
    private final TileKernels kernels;
    private final GemmSpan span;
    private final int tileRows;
    private final int panelWidth;
    private final float[] passing;
    private final Scratch decoded = new Scratch();
    private int ranks;
    private int rankFrom;

    /// @param passing scratch of [Operand#PASSING]
    UnitTerms(TileKernels kernels, GemmSpan span, float[] passing) {
        this.kernels = kernels;
        this.span = span;
        this.tileRows = kernels.tileRows();
        this.panelWidth = kernels.panelWidth();
        this.passing = passing;
    }

    /// Takes the terms beside some rows of a weight on the left.
    void decodeRows(int tile, int tileEnd) {
        int row = span.leftFrom() + tile * tileRows;
        int rows = span.rowsOf(tile, tileEnd);
        if (findRanks(row, rows)) {
            float[] target = decoded.ofLength(Math.toIntExact((long) (tileEnd - tile) * tileRows * LEFT_STRIDE));
            span.leftTerms().toRows(kernels, row, rows, rankFrom, ranks, target, 0, LEFT_STRIDE, passing);
        }
    }

    /// Takes the terms below some columns of a weight on the right.
    void decodePanels(int panel, int panelEnd) {
        int column = span.rightFrom() + panel * panelWidth;
        int columns = span.columnsOf(panel, panelEnd);
        if (findRanks(column, columns)) {
            int panelLength = panelWidth * ranks;
            float[] target = decoded.ofLength(Math.toIntExact((long) (panelEnd - panel) * panelLength));
            span.rightTerms().toPanels(kernels, column, columns, rankFrom, ranks, target, 0, panelLength, 0, passing);
        }
    }

    /// Finds the ranks that a part of the weight takes; whether there are any.
    private boolean findRanks(int from, int count) {
        LowRankTerms terms = span.terms();
        if (terms == null) {
            ranks = 0;
            return false;
        }
        rankFrom = terms.rankFrom(from, from + count);
        ranks = terms.rankTo(from, from + count) - rankFrom;
        return ranks > 0;
    }

    /// Ranks to add to the sums of what was decoded last.
    int ranks() {
        return span.terms() == null ? 0 : ranks;
    }

    /// The first of them.
    int rankFrom() {
        return rankFrom;
    }

    /// The weight's side of them, rows or panels.
    float[] decoded() {
        return decoded.array();
    }
}
