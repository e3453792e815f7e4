package io.vectune.runtime.matmul;

import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// How one worker writes the sums of a span to the result, or adds them to it.
///
///     result[row, column] (+)= alpha * sum          or result[column, row], transposed
///
/// Sums lie panel by panel, the result row by row: some rows of it at a time are put together in an array of the
/// first-level cache, and go out as whole rows.
final class ResultRows {
    /// Rows of the result that are scaled or transposed at a time on the way out.
    private static final int WRITE_ROWS = 16;

    private final TileKernels kernels;
    private final GemmSpan span;
    private final int tileRows;
    private final int panelWidth;
    private final float[] passing;
    private final float[] before = new float[Operand.PASSING];

    /// @param passing scratch of [Operand#PASSING]
    ResultRows(TileKernels kernels, GemmSpan span, float[] passing) {
        this.kernels = kernels;
        this.span = span;
        this.tileRows = kernels.tileRows();
        this.panelWidth = kernels.panelWidth();
        this.passing = passing;
    }

    /// Loads what some tiles and panels are going to be added to, in runs as long as they are wide: it is read in
    /// shorter pieces.
    void load(int tile, int tileEnd, int panel, int panelEnd) {
        int row = span.leftFrom() + tile * tileRows;
        int column = span.rightFrom() + panel * panelWidth;
        int rows = span.rowsOf(tile, tileEnd);
        int columns = span.columnsOf(panel, panelEnd);
        if (span.transposed()) {
            CacheFill.load(span.result(), column, columns, row, rows);
        } else {
            CacheFill.load(span.result(), row, rows, column, columns);
        }
    }

    /// Sums of some tiles in one panel to the rows of the result that the panel's columns are.
    void writeTransposed(int tile, int tileEnd, int panel, UnitSums sums) {
        int row = span.leftFrom() + tile * tileRows;
        int rows = span.rowsOf(tile, tileEnd);
        int column = span.rightFrom() + panel * panelWidth;
        int columns = span.columnsOf(panel, panel + 1);
        int width = kernels.width(columns);
        int at = sums.at(tile, panel);
        int stride = rows + Operand.PASSING_PAD;
        int step = Math.max(1, Math.min(WRITE_ROWS, Operand.PASSING / stride));
        for (int first = 0; first < columns; first += step) {
            int count = Math.min(step, columns - first);
            kernels.transpose(sums.array(), at + first, width, rows, count, passing, 0, stride);
            writeRows(column + first, count, row, rows, stride);
        }
    }

    /// Sums of some tiles in some panels to the rows of the result, side by side.
    void write(int tile, int tileEnd, int panelFrom, int panelEnd, UnitSums sums) {
        int row = span.leftFrom() + tile * tileRows;
        int rows = span.rowsOf(tile, tileEnd);
        int column = span.rightFrom() + panelFrom * panelWidth;
        int columns = span.columnsOf(panelFrom, panelEnd);
        int stride = columns + Operand.PASSING_PAD;
        for (int first = 0; first < rows; first += WRITE_ROWS) {
            int count = Math.min(WRITE_ROWS, rows - first);
            for (int panel = panelFrom; panel < panelEnd; panel++) {
                int to = (panel - panelFrom) * panelWidth;
                int panelColumns = span.columnsOf(panel, panel + 1);
                int width = kernels.width(panelColumns);
                int from = sums.at(tile, panel) + first * width;
                kernels.copy(sums.array(), from, width, count, panelColumns, passing, to, stride);
            }
            writeRows(row + first, count, column, columns, stride);
        }
    }

    /// result[row + i, column + j] (+)= alpha * passing[i * stride + j].
    private void writeRows(int row, int rows, int column, int columns, int stride) {
        Matrix target = span.result();
        for (int i = 0; i < rows; i++) {
            long at = target.rowOffset(row + i) + 4L * column;
            int from = i * stride;
            if (span.alpha() != 1) {
                kernels.scale(span.alpha(), passing, from, columns);
            }
            if (span.accumulate()) {
                MemorySegment.copy(target.segment(), Tensor.FLOAT, at, before, 0, columns);
                kernels.add(before, passing, from, columns);
            }
            MemorySegment.copy(passing, from, target.segment(), Tensor.FLOAT, at, columns);
        }
    }
}
