package io.vectune.runtime.matmul;

/// The running sums of a unit of work: those of some tiles and panels, panel by panel, each panel row by row.
///
/// With several blocks of k the sums of the whole unit wait here from block to block; with one, those of a group of
/// tiles and panels are done at once and make room for the next.
final class UnitSums {
    private final GemmSpan span;
    private final int tileRows;
    private final int panelWidth;
    private final Scratch sums = new Scratch();
    private int tileFrom;
    private int tiles;
    private int panelFrom;

    UnitSums(GemmSpan span, int tileRows, int panelWidth) {
        this.span = span;
        this.tileRows = tileRows;
        this.panelWidth = panelWidth;
    }

    /// From here on holds the sums of these tiles and panels.
    void hold(int tile, int tileEnd, int panel, int panelEnd) {
        tileFrom = tile;
        tiles = tileEnd - tile;
        panelFrom = panel;
        sums.ofLength(Math.toIntExact((long) tiles * (panelEnd - panel) * tileRows * panelWidth));
    }

    float[] array() {
        return sums.array();
    }

    /// Where the sums of a tile, and behind it of the tiles after it, lie in a panel.
    int at(int tile, int panel) {
        return ((panel - panelFrom) * tiles * panelWidth + (tile - tileFrom) * span.widthOf(panel)) * tileRows;
    }
}
