package io.vectune.runtime.matmul;

import static io.vectune.runtime.matmul.TileKernels.LEFT_STRIDE;

import io.vectune.runtime.matmul.LowRankTerms.Source;
import io.vectune.runtime.matmul.LowRankTerms.Term;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Computes the narrow sides of low-rank terms from what the large product has just packed, while that is in the
/// caches, with the register tiles of the large product:
///
///     h     = s x Aᵀ       x in panels, A on the left, the factors of all terms one below the other
///     gradH = s gradY B    gradY in rows, B in panels, each over the columns of its own layer
///
/// As products of their own they read and copied x and gradY once more each, which took longer than their
/// multiply-adds. Each element is one chain over k, as in [NarrowProduct]: the same bits.
final class TermSources {
    /// Ranks that are transposed at a time.
    private static final int RANKS = 64;

    private final TileKernels kernels;
    private final GemmSpan span;
    private final Operand factor = new Operand();
    private final Scratch factors = new Scratch();
    private final float[] passing = new float[Operand.PASSING];

    /// Ranks of all forward terms, in whole tiles; 0 where there is nothing to compute.
    private int tileRanks;

    TermSources(TileKernels kernels, GemmSpan span) {
        this.kernels = kernels;
        this.span = span;
    }

    private boolean isNeeded() {
        LowRankTerms terms = span.terms();
        return terms != null && terms.areFromProduct();
    }

    /// Before panels are packed: copies the factors A, block of k by block of k.
    void packLeftFactors() {
        LowRankTerms terms = span.terms();
        if (terms == null || !terms.areFromProduct()) {
            return;
        }
        tileRanks = Math.ceilDiv(terms.rank(), kernels.tileRows()) * kernels.tileRows();
        float[] target = factors.ofLength(span.blocks() * tileRanks * LEFT_STRIDE);
        for (int block = 0; block < span.blocks(); block++) {
            for (Term term : terms.list()) {
                int ranks = term.narrow().columns();
                int at = (block * tileRanks + term.rankFrom()) * LEFT_STRIDE;
                int from = span.operandDepth(block);
                factor.of(sourceOf(term).factor(), false);
                factor.toRows(kernels, 0, ranks, from, span.depthOf(block), target, at, LEFT_STRIDE, passing);
            }
        }
        factor.clear();
    }

    /// h of the tokens of one panel.
    ///
    /// @param packed holds the panel
    /// @param sums a worker's scratch
    /// @param turned scratch of [Operand#PASSING]
    void computeOfPanel(int panel, PackedSides packed, Scratch sums, float[] turned) {
        if (!isNeeded()) {
            return;
        }
        int width = span.widthOf(panel);
        float[] tile = sums.ofLength(tileRanks * width);
        Arrays.fill(tile, 0, tileRanks * width, 0f);
        float[] a = factors.array();
        float[] panels = packed.array();
        for (int block = 0; block < span.blocks(); block++) {
            int panelAt = PackedSides.START + panel * span.panelLength() + span.packedDepth(block) * width;
            for (int rank = 0; rank < tileRanks; rank += kernels.tileRows()) {
                int at = (block * tileRanks + rank) * LEFT_STRIDE;
                int depth = span.depthOf(block);
                kernels.multiply(kernels.tileRows(), depth, a, at, panels, panelAt, width, tile, rank * width, panelAt);
            }
        }
        int tokens = span.columnsOf(panel, panel + 1);
        int token = span.rightFrom() + panel * kernels.panelWidth();
        for (Term term : requireTerms().list()) {
            int ranks = term.narrow().columns();
            for (int first = 0; first < ranks; first += RANKS) {
                int count = Math.min(RANKS, ranks - first);
                int at = (term.rankFrom() + first) * width;
                int stride = count + Operand.PASSING_PAD;
                kernels.transpose(tile, at, width, count, tokens, turned, 0, stride);
                write(term, token, tokens, first, count, turned, 0, stride);
            }
        }
    }

    /// Before rows are packed: copies the factors B into panels, one term behind the other.
    void packRightFactors() {
        LowRankTerms terms = span.terms();
        if (terms == null || !terms.areFromProduct()) {
            return;
        }
        int length = 0;
        for (Term term : terms.list()) {
            length += panelsLength(term);
        }
        float[] target = factors.ofLength(length);
        int at = 0;
        for (Term term : terms.list()) {
            Matrix b = sourceOf(term).factor();
            factor.of(b, true);
            int panelLength = kernels.panelWidth() * b.rows();
            int step = Operand.MAX_COLUMNS / kernels.panelWidth() * kernels.panelWidth();
            for (int rank = 0; rank < b.columns(); rank += step) {
                int ranks = Math.min(step, b.columns() - rank);
                int to = at + rank / kernels.panelWidth() * panelLength;
                factor.toPanels(kernels, rank, ranks, 0, b.rows(), target, to, panelLength, 0, passing);
            }
            at += panelsLength(term);
        }
        factor.clear();
    }

    private int panelsLength(Term term) {
        Matrix b = sourceOf(term).factor();
        return Math.ceilDiv(b.columns(), kernels.panelWidth()) * kernels.panelWidth() * b.rows();
    }

    /// gradH of some tokens.
    ///
    /// @param row the first of them in the span, of a whole tile
    /// @param packed holds their rows
    /// @param sums a worker's scratch
    void computeOfRows(int row, int count, PackedSides packed, Scratch sums) {
        if (!isNeeded()) {
            return;
        }
        int tileRows = kernels.tileRows();
        int panelWidth = kernels.panelWidth();
        int padded = Math.ceilDiv(count, tileRows) * tileRows;
        float[] rows = packed.array();
        int at = 0;
        for (Term term : requireTerms().list()) {
            int column = span.left().columnOf(sourceOf(term).wide());
            int features = sourceOf(term).factor().rows();
            int ranks = term.narrow().columns();
            for (int rank = 0; rank < ranks; rank += panelWidth) {
                int columns = Math.min(panelWidth, ranks - rank);
                int width = kernels.width(columns);
                int panelAt = at + rank * features;
                float[] tile = sums.ofLength(padded * width);
                Arrays.fill(tile, 0, padded * width, 0f);
                for (int block = 0; block < span.blocks(); block++) {
                    int first = span.operandDepth(block);
                    int from = Math.max(column, first);
                    int depth = Math.min(column + features, first + span.depthOf(block)) - from;
                    for (int tall = 0; depth > 0 && tall < count; tall += tileRows) {
                        int rowsAt = packed.rowsAt() + span.rowsAt(block, row + tall) + from - first;
                        int factorAt = panelAt + (from - column) * width;
                        kernels.multiply(
                                Math.min(tileRows, count - tall),
                                depth,
                                rows,
                                rowsAt,
                                factors.array(),
                                factorAt,
                                width,
                                tile,
                                tall * width,
                                factorAt);
                    }
                }
                write(term, span.leftFrom() + row, count, rank, columns, tile, 0, width);
            }
            at += panelsLength(term);
        }
    }

    /// narrow[token + i, rank + k] = scale * values[offset + i * stride + k]; values are scaled in place.
    private void write(Term term, int token, int tokens, int rank, int ranks, float[] values, int offset, int stride) {
        Matrix narrow = term.narrow();
        for (int i = 0; i < tokens; i++) {
            int at = offset + i * stride;
            kernels.scale(sourceOf(term).scale(), values, at, ranks);
            long to = narrow.rowOffset(token + i) + 4L * rank;
            MemorySegment.copy(values, at, narrow.segment(), Tensor.FLOAT, to, ranks);
        }
    }

    private LowRankTerms requireTerms() {
        LowRankTerms terms = span.terms();
        if (terms == null) {
            throw new IllegalStateException("no terms");
        }
        return terms;
    }

    private static Source sourceOf(Term term) {
        Source source = term.source();
        if (source == null) {
            throw new IllegalStateException("the narrow side of a term is there already");
        }
        return source;
    }
}
