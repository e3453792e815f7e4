package io.vectune.adapters.kernel;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// Elementwise kernels over the rows of activations (tokens, features).
///
/// Rows go through worker scratch, where plain loops without reductions compile to vector code of any width with the
/// same bits. Sums over tokens run in token order for each feature, in double: the result does not depend on threads.
///
/// Cost memory bound: each matrix is read or written once Memory worker scratch slots 0 to 2
public final class RowKernels {
    // Features a unit of the column sums: 4 KB of partial sums in double stay in L1.
    private static final int COLUMN_BLOCK = 512;

    private RowKernels() {}

    /// y += row for each row of y; nothing for null.
    public static void addRow(Compute compute, Matrix y, @Nullable Matrix row) {
        if (row != null) {
            addScaledRow(compute, y, row, 1);
        }
    }

    /// y += factor * row for each row of y.
    public static void addScaledRow(Compute compute, Matrix y, Matrix row, float factor) {
        float[] term = row.toArray();
        for (int o = 0; o < term.length; o++) {
            term[o] *= factor;
        }
        eachRow(
                compute,
                y,
                (buffer, columns) -> {
                    for (int o = 0; o < columns; o++) {
                        buffer[o] += term[o];
                    }
                });
    }

    /// y = y ⊙ factor (+ row), for each row of y.
    ///
    /// @param factor [features]
    public static void scaleColumns(Compute compute, Matrix y, float[] factor, @Nullable Matrix row) {
        if (row == null) {
            eachRow(
                    compute,
                    y,
                    (buffer, columns) -> {
                        for (int o = 0; o < columns; o++) {
                            buffer[o] *= factor[o];
                        }
                    });
        } else {
            float[] term = row.toArray();
            eachRow(
                    compute,
                    y,
                    (buffer, columns) -> {
                        for (int o = 0; o < columns; o++) {
                            buffer[o] = buffer[o] * factor[o] + term[o];
                        }
                    });
        }
    }

    /// target = source ⊙ factor, for each row.
    public static void scaleColumnsInto(Compute compute, Matrix source, float[] factor, Matrix target) {
        eachRowInto(
                compute,
                source,
                target,
                (from, to, columns) -> {
                    for (int o = 0; o < columns; o++) {
                        to[o] = from[o] * factor[o];
                    }
                });
    }

    /// target = factor ⊙ source with one factor a row.
    ///
    /// @param factor [rows]
    public static void scaleRowsInto(Compute compute, Matrix source, float[] factor, Matrix target) {
        int columns = source.columns();
        compute.team()
                .run(
                        source.rows(),
                        64,
                        (from, to, worker) -> {
                            float[] buffer = compute.scratch(worker, 0, columns);
                            for (int row = from; row < to; row++) {
                                load(source, row, 0, buffer, columns);
                                for (int i = 0; i < columns; i++) {
                                    buffer[i] *= factor[row];
                                }
                                store(buffer, target, row, columns);
                            }
                        });
    }

    /// target = values, row after row.
    public static void store(float[] values, Matrix target) {
        int columns = target.columns();
        for (int row = 0; row < target.rows(); row++) {
            MemorySegment.copy(values, row * columns, target.segment(), Tensor.FLOAT, target.rowOffset(row), columns);
        }
    }

    /// target += factor * source.
    public static void addScaled(Compute compute, Matrix target, Matrix source, float factor) {
        eachRowInto(
                compute,
                source,
                target,
                (from, to, columns) -> {
                    for (int o = 0; o < columns; o++) {
                        to[o] += factor * from[o];
                    }
                });
    }

    /// target += source ⊙ factor, for each row.
    public static void addScaledColumns(Compute compute, Matrix target, Matrix source, float[] factor) {
        eachRowInto(
                compute,
                source,
                target,
                (from, to, columns) -> {
                    for (int o = 0; o < columns; o++) {
                        to[o] += factor[o] * from[o];
                    }
                });
    }

    /// target = source, rows in parallel.
    public static void copy(Compute compute, Matrix source, Matrix target) {
        long bytes = 4L * source.columns();
        compute.team()
                .run(
                        source.rows(),
                        16,
                        (from, to, worker) -> {
                            for (int t = from; t < to; t++) {
                                MemorySegment.copy(
                                        source.segment(),
                                        source.rowOffset(t),
                                        target.segment(),
                                        target.rowOffset(t),
                                        bytes);
                            }
                        });
    }

    /// The column blocks of each row below each other: target[b * tokens + t, i] = source[t, b * width + i].
    ///
    /// @param source (tokens, blocks * width)
    /// @param target (blocks * tokens, width)
    public static void stackBlocks(Compute compute, Matrix source, Matrix target) {
        int tokens = source.rows();
        int blocks = source.columns() / target.columns();
        long bytes = 4L * target.columns();
        compute.team()
                .run(
                        tokens,
                        8,
                        (from, to, worker) -> {
                            for (int t = from; t < to; t++) {
                                for (int b = 0; b < blocks; b++) {
                                    MemorySegment.copy(
                                            source.segment(),
                                            source.rowOffset(t) + b * bytes,
                                            target.segment(),
                                            target.rowOffset(b * tokens + t),
                                            bytes);
                                }
                            }
                        });
    }

    /// The reverse of [#stackBlocks], set or added: target[t, b * width + i] (+)= source[b * tokens + t, i].
    ///
    /// @param source (blocks * tokens, width)
    /// @param target (tokens, blocks * width)
    public static void unstackBlocks(Compute compute, Matrix source, Matrix target, boolean accumulate) {
        int tokens = target.rows();
        int columns = target.columns();
        int width = source.columns();
        compute.team()
                .run(
                        tokens,
                        8,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, columns);
                            float[] sum = compute.scratch(worker, 1, columns);
                            for (int t = from; t < to; t++) {
                                for (int first = 0; first < columns; first += width) {
                                    MemorySegment.copy(
                                            source.segment(),
                                            Tensor.FLOAT,
                                            source.rowOffset(first / width * tokens + t),
                                            row,
                                            first,
                                            width);
                                }
                                if (accumulate) {
                                    load(target, t, 0, sum, columns);
                                    for (int i = 0; i < columns; i++) {
                                        row[i] += sum[i];
                                    }
                                }
                                store(row, target, t, columns);
                            }
                        });
    }

    /// target = target * own + source * other, elementwise.
    public static void blend(Compute compute, Matrix target, float own, Matrix source, float other) {
        eachRowInto(
                compute,
                source,
                target,
                (from, to, columns) -> {
                    for (int o = 0; o < columns; o++) {
                        to[o] = own * to[o] + other * from[o];
                    }
                });
    }

    /// sums[f] = sum_t a[t, f] * b[t, f].
    ///
    /// @param sums [features], overwritten
    public static void columnDots(Compute compute, Matrix a, Matrix b, double[] sums) {
        columnBlocks(
                compute,
                a,
                (from, count, worker) -> {
                    float[] left = compute.scratch(worker, 0, COLUMN_BLOCK);
                    float[] right = compute.scratch(worker, 1, COLUMN_BLOCK);
                    double[] total = new double[count];
                    for (int t = 0; t < a.rows(); t++) {
                        load(a, t, from, left, count);
                        load(b, t, from, right, count);
                        for (int f = 0; f < count; f++) {
                            total[f] += (double) left[f] * right[f];
                        }
                    }
                    System.arraycopy(total, 0, sums, from, count);
                });
    }

    /// sums[f] = sum_t a[t, f].
    public static void columnSums(Compute compute, Matrix a, double[] sums) {
        columnBlocks(
                compute,
                a,
                (from, count, worker) -> {
                    float[] row = compute.scratch(worker, 0, COLUMN_BLOCK);
                    double[] total = new double[count];
                    for (int t = 0; t < a.rows(); t++) {
                        load(a, t, from, row, count);
                        for (int f = 0; f < count; f++) {
                            total[f] += row[f];
                        }
                    }
                    System.arraycopy(total, 0, sums, from, count);
                });
    }

    /// gradient[0, f] += factor * sums[f].
    public static void addToRow(Matrix gradient, double[] sums, double factor) {
        for (int f = 0; f < sums.length; f++) {
            gradient.set(0, f, (float) (gradient.get(0, f) + factor * sums[f]));
        }
    }

    /// What is done to one row, in place.
    @FunctionalInterface
    public interface InPlace {
        /// @param buffer the row's values
        void run(float[] buffer, int columns);
    }

    /// What is done to one row, given another.
    @FunctionalInterface
    public interface Into {
        /// @param from the source row, may be used as scratch
        /// @param to the target row, with its old values
        void run(float[] from, float[] to, int columns);
    }

    /// Runs `body` over the rows of y, in parallel.
    public static void eachRow(Compute compute, Matrix y, InPlace body) {
        int columns = y.columns();
        compute.team()
                .run(
                        y.rows(),
                        8,
                        (from, to, worker) -> {
                            float[] buffer = compute.scratch(worker, 0, columns);
                            for (int t = from; t < to; t++) {
                                load(y, t, 0, buffer, columns);
                                body.run(buffer, columns);
                                store(buffer, y, t, columns);
                            }
                        });
    }

    /// Runs `body` over pairs of rows, in parallel; only the target is written.
    public static void eachRowInto(Compute compute, Matrix source, Matrix target, Into body) {
        int columns = source.columns();
        compute.team()
                .run(
                        source.rows(),
                        8,
                        (from, to, worker) -> {
                            float[] left = compute.scratch(worker, 0, columns);
                            float[] right = compute.scratch(worker, 1, columns);
                            for (int t = from; t < to; t++) {
                                load(source, t, 0, left, columns);
                                load(target, t, 0, right, columns);
                                body.run(left, right, columns);
                                store(right, target, t, columns);
                            }
                        });
    }

    @FunctionalInterface
    private interface Block {
        void run(int from, int count, int worker);
    }

    private static void columnBlocks(Compute compute, Matrix a, Block body) {
        int columns = a.columns();
        int blocks = (columns + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
        compute.team()
                .run(
                        blocks,
                        1,
                        (from, to, worker) -> {
                            for (int block = from; block < to; block++) {
                                int first = block * COLUMN_BLOCK;
                                body.run(first, Math.min(COLUMN_BLOCK, columns - first), worker);
                            }
                        });
    }

    /// A whole row into the first elements of an array.
    public static void load(Matrix matrix, int row, float[] buffer) {
        load(matrix, row, 0, buffer, matrix.columns());
    }

    /// A whole row from the first elements of an array.
    public static void store(float[] buffer, Matrix matrix, int row) {
        store(buffer, matrix, row, matrix.columns());
    }

    private static void load(Matrix matrix, int row, int column, float[] buffer, int count) {
        MemorySegment.copy(matrix.segment(), Tensor.FLOAT, matrix.rowOffset(row) + 4L * column, buffer, 0, count);
    }

    private static void store(float[] buffer, Matrix matrix, int row, int count) {
        MemorySegment.copy(buffer, 0, matrix.segment(), Tensor.FLOAT, matrix.rowOffset(row), count);
    }
}
