package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Products of small rank that belong to the result of a large product, for [MatMul] to add in the same pass:
///
///     y[:, from, to) += h Bᵀ          h (tokens, rank), B (to - from, rank)        the forward product
///     gradInput      += gradH A       gradH (tokens, rank), A (rank, columns)      the transposed product
///
/// A term is a few more k at the end of each sum: y = [x | h] [W | B]ᵀ, gradInput = [gradY | gradH] [W; A]. As part of
/// the large product it costs its multiply-adds alone, where a product of its own reads and writes the whole result
/// once more. Layers whose outputs lie side by side bring one term each, over their own columns.
///
/// A term can leave its narrow side, h = s x Aᵀ or gradH = s gradY B, to the product as well, which multiplies with A or
/// B while it has x or gradY in its caches: [TermSources].
///
/// Terms hold matrices, no copies: these must stay as they are until the product is done. Not for use by two threads at
/// once.
public final class LowRankTerms {
    /// The most ranks that a product takes along: a block of its sums.
    private static final int MAX_RANK = TileKernels.MAX_DEPTH;

    /// What the narrow side of a term is to be computed from: h = scale x Aᵀ, or gradH = scale gradY B.
    ///
    /// @param wide (tokens, features): x or gradY
    /// @param factor A (rank, features) or B (features, rank)
    record Source(Matrix wide, Matrix factor, float scale) {}

    /// One term: result[:, column + j] += sum_k narrow[:, k] * factor[j, k], or factor[k, j].
    ///
    /// @param rankFrom ranks of the terms before it
    /// @param source of the narrow side, if it is not computed yet
    record Term(Matrix narrow, Matrix factor, boolean rankIsRows, int column, int rankFrom, @Nullable Source source) {
        int rankTo() {
            return rankFrom + narrow.columns();
        }

        int columnTo() {
            return column + (rankIsRows ? factor.columns() : factor.rows());
        }
    }

    private final List<Term> terms = new ArrayList<>(4);
    private int rank;
    private boolean fromProduct;

    /// No terms.
    public LowRankTerms() {}

    /// A term of the forward product: y[:, column + o] += sum_k h[:, k] B[o, k].
    ///
    /// @param h (tokens, rank)
    /// @param b (outputs, rank)
    /// @param column the first output
    /// @throws IllegalArgumentException if the ranks differ, or terms of the transposed product are there
    public void addForward(Matrix h, Matrix b, int column) {
        add(h, b, false, column, null);
    }

    /// A term of the forward product whose h = scale x Aᵀ is computed with it: h is there when the product is done.
    ///
    /// @param x (tokens, inputs), what the product reads
    /// @param a (rank, inputs)
    /// @param h (tokens, rank), overwritten
    /// @param b (outputs, rank)
    /// @param column the first output
    /// @throws IllegalArgumentException if a shape does not fit, or terms of the transposed product are there
    public void addForward(Matrix x, Matrix a, float scale, Matrix h, Matrix b, int column) {
        checkSource("A", a, h.columns(), x.columns(), x.rows(), h.rows());
        add(h, b, false, column, new Source(x, a, scale));
    }

    /// A term of the transposed product: gradInput[:, i] += sum_k gradH[:, k] A[k, i], for as many i as A has columns.
    ///
    /// @param gradH (tokens, rank)
    /// @param a (rank, inputs)
    /// @throws IllegalArgumentException if the ranks differ, or terms of the forward product are there
    public void addTransposed(Matrix gradH, Matrix a) {
        add(gradH, a, true, 0, null);
    }

    /// A term of the transposed product whose gradH = scale gradY B is computed with it: gradH is there when the
    /// product is done.
    ///
    /// @param gradOutput (tokens, outputs), what the product reads or some of its columns
    /// @param b (outputs, rank)
    /// @param gradH (tokens, rank), overwritten
    /// @param a (rank, inputs)
    /// @throws IllegalArgumentException if a shape does not fit, or terms of the forward product are there
    public void addTransposed(Matrix gradOutput, Matrix b, float scale, Matrix gradH, Matrix a) {
        checkSource("B", b, gradOutput.columns(), gradH.columns(), gradOutput.rows(), gradH.rows());
        add(gradH, a, true, 0, new Source(gradOutput, b, scale));
    }

    private void add(Matrix narrow, Matrix factor, boolean rankIsRows, int column, @Nullable Source source) {
        int factorRank = rankIsRows ? factor.rows() : factor.columns();
        if (factorRank != narrow.columns()) {
            throw new IllegalArgumentException(
                    "low-rank term: expected a factor of rank " + narrow.columns() + ", found " + factorRank);
        }
        if (!terms.isEmpty() && terms.getFirst().rankIsRows != rankIsRows) {
            throw new IllegalArgumentException(
                    "low-rank term: expected terms of one product, found forward and transposed ones");
        }
        terms.add(new Term(narrow, factor, rankIsRows, column, rank, source));
        rank = Math.addExact(rank, factorRank);
    }

    /// Whether there is none.
    public boolean isEmpty() {
        return terms.isEmpty();
    }

    /// Forgets all terms.
    public void clear() {
        terms.clear();
        rank = 0;
        fromProduct = false;
    }

    /// result (+)= the terms, as products of their own.
    ///
    /// @param accumulate otherwise the result is overwritten
    public void addTo(Compute compute, Matrix result, boolean accumulate) {
        computeNarrow(compute);
        // The first of transposed terms over all columns can overwrite; anything else adds.
        boolean adds = accumulate;
        if (!adds
                && !(terms.size() > 0
                        && terms.getFirst().columnTo() == result.columns()
                        && terms.getFirst().column == 0)) {
            result.fill(0);
            adds = true;
        }
        for (Term term : terms) {
            Matrix target = result.columns(term.column, term.columnTo());
            if (term.rankIsRows) {
                MatMul.nn(compute, 1, term.narrow, term.factor, target, adds);
            } else {
                MatMul.nt(compute, 1, term.narrow, term.factor, target, adds);
            }
            adds = true;
        }
    }

    /// Before a product: leaves the narrow sides to it, if it can compute all of them from what it packs, or computes
    /// them.
    ///
    /// @param packed all of x or of gradY; null if the product does not pack all of it at once
    void settle(Compute compute, @Nullable Matrix packed) {
        fromProduct = packed != null;
        for (Term term : terms) {
            fromProduct &= packed != null && term.source != null && columnIn(packed, term.source) >= 0;
        }
        if (!fromProduct) {
            computeNarrow(compute);
        }
    }

    private void computeNarrow(Compute compute) {
        for (Term term : terms) {
            Source source = term.source;
            if (source != null && term.rankIsRows) {
                MatMul.nn(compute, source.scale, source.wide, source.factor, term.narrow, false);
            } else if (source != null) {
                MatMul.nt(compute, source.scale, source.wide, source.factor, term.narrow, false);
            }
        }
    }

    /// Whether the product computes the narrow sides: see [#settle].
    boolean areFromProduct() {
        return fromProduct;
    }

    /// The terms, in the order of their ranks.
    List<Term> list() {
        return terms;
    }

    /// The first column of `packed` that a source reads, or -1 if it reads anything else: a forward term all columns, a
    /// transposed one those of its layer.
    static int columnIn(Matrix packed, Source source) {
        Matrix wide = source.wide;
        long column = (wide.offset() - packed.offset()) / Float.BYTES;
        boolean within =
                wide.segment().equals(packed.segment())
                        && wide.rows() == packed.rows()
                        && wide.stride() == packed.stride()
                        && column >= 0
                        && column + wide.columns() <= packed.columns();
        return within ? Math.toIntExact(column) : -1;
    }

    private static void checkSource(String name, Matrix factor, int rows, int columns, int tokens, int narrowTokens) {
        if (factor.rows() != rows || factor.columns() != columns || tokens != narrowTokens) {
            throw new IllegalArgumentException(
                    "low-rank term: expected "
                            + name
                            + " ("
                            + rows
                            + ", "
                            + columns
                            + ") and "
                            + narrowTokens
                            + " tokens, found ("
                            + factor.rows()
                            + ", "
                            + factor.columns()
                            + ") and "
                            + tokens);
        }
    }

    /// Whether a product can take them along as one more block of its sums.
    boolean fitInBlock() {
        return rank <= MAX_RANK;
    }

    /// All ranks together: how much longer the sums get.
    int rank() {
        return rank;
    }

    /// The first rank that the columns `[from, to)` of the result need; as [#rankTo] if they need none.
    int rankFrom(int from, int to) {
        for (Term term : terms) {
            if (term.column < to && term.columnTo() > from) {
                return term.rankFrom;
            }
        }
        return rank;
    }

    /// The end of the ranks that they need.
    int rankTo(int from, int to) {
        for (int index = terms.size() - 1; index >= 0; index--) {
            Term term = terms.get(index);
            if (term.column < to && term.columnTo() > from) {
                return term.rankTo();
            }
        }
        return rank;
    }

    /// Refuses terms that are not of this product.
    ///
    /// @param transposed whether it is the transposed one
    /// @param tokens rows of its result
    /// @param columns of its result
    void check(boolean transposed, int tokens, int columns) {
        for (Term term : terms) {
            if (term.rankIsRows != transposed) {
                throw new IllegalArgumentException(
                        transposed
                                ? "low-rank term: expected transposed terms, found forward ones"
                                : "low-rank term: expected forward terms, found transposed ones");
            }
            if (term.narrow.rows() != tokens || term.columnTo() > columns) {
                throw new IllegalArgumentException(
                        "low-rank term: expected "
                                + tokens
                                + " tokens and at most "
                                + columns
                                + " columns, found "
                                + term.narrow.rows()
                                + " and "
                                + term.columnTo());
            }
        }
    }

    /// The tokens' side: target[offset + i * stride + k] = narrow[token + i, rank + k].
    void readTokens(int token, int tokens, int rank, int ranks, float[] target, int offset, int stride) {
        for (Term term : terms) {
            int from = Math.max(rank, term.rankFrom);
            int to = Math.min(rank + ranks, term.rankTo());
            for (int i = 0; from < to && i < tokens; i++) {
                copy(
                        term.narrow,
                        token + i,
                        from - term.rankFrom,
                        to - from,
                        target,
                        offset + i * stride + from - rank);
            }
        }
    }

    /// The columns' side: target[offset + i * stride + j] is the factor of (column + i, rank + j), or of (rank + i,
    /// column + j) if the ranks are its rows; 0 where a term does not reach.
    void readColumns(int row, int rows, int column, int columns, float[] target, int offset, int stride) {
        boolean rankIsRows = terms.getFirst().rankIsRows;
        for (int i = 0; i < rows; i++) {
            Arrays.fill(target, offset + i * stride, offset + i * stride + columns, 0f);
        }
        for (Term term : terms) {
            int firstRow = rankIsRows ? term.rankFrom : term.column;
            int firstColumn = rankIsRows ? term.column : term.rankFrom;
            int rowFrom = Math.max(row, firstRow);
            int rowTo = Math.min(row + rows, firstRow + term.factor.rows());
            int from = Math.max(column, firstColumn);
            int to = Math.min(column + columns, firstColumn + term.factor.columns());
            for (int i = rowFrom; from < to && i < rowTo; i++) {
                int at = offset + (i - row) * stride + from - column;
                copy(term.factor, i - firstRow, from - firstColumn, to - from, target, at);
            }
        }
    }

    private static void copy(Matrix matrix, int row, int column, int count, float[] target, int at) {
        MemorySegment.copy(matrix.segment(), Tensor.FLOAT, matrix.rowOffset(row) + 4L * column, target, at, count);
    }
}
