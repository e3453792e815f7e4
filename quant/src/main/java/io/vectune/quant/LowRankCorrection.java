package io.vectune.quant;

import io.vectune.runtime.VectuneException;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.SplittableRandom;

/// A low-rank correction of a quantized weight, in the shape of a LoRA with scaling 1: W is near Wq + B A.
///
///     minimize over B, A:   sum_i moment[i] * |(W - Wq - B A)[:, i]|^2
///
/// the expected squared error of the output for inputs with second moments `moment`. With D = diag(sqrt(moment)) the
/// solution is the truncated singular value decomposition of (W - Wq) D, taken back by D^-1 on the right. B holds
/// orthonormal columns that span its leading left singular vectors, found by subspace iteration in a space twice as wide
/// as the rank; A is the projection of the residual on them.
///
/// @param loraA (rank, inFeatures)
/// @param loraB (outFeatures, rank)
/// @param explained how much of the minimized sum is gone, from 0 (nothing) to 1 (all)
public record LowRankCorrection(Matrix loraA, Matrix loraB, double explained) {
    private static final int ITERATIONS = 6;
    private static final double SMALLEST_SHARE = 1e-6;

    /// Fits the correction.
    ///
    /// @param dense the weight before quantization, F32, F16 or BF16
    /// @param moment mean squared input of each column, [inFeatures]; empty for the plain Frobenius norm
    /// @param rank at most both sizes of the weight
    /// @param arena holds the result
    public static LowRankCorrection fit(
            Compute compute, Tensor dense, Weight quantized, double[] moment, int rank, Arena arena) {
        int out = quantized.outFeatures();
        int in = quantized.inFeatures();
        if (rank < 1 || rank > Math.min(out, in)) {
            throw new VectuneException("correction rank: expected 1 to " + Math.min(out, in) + ", found " + rank);
        }
        if (moment.length != 0 && moment.length != in) {
            throw new IllegalArgumentException("moment: expected " + in + " values, found " + moment.length);
        }
        float[] root = roots(moment, in);
        long mark = compute.workspace().mark();
        try {
            Matrix residual = residual(compute, dense, quantized, root);
            int width = Math.min(2 * rank, Math.min(out, in));
            Matrix basis = compute.workspace().matrix(out, width);
            Matrix coefficients = compute.workspace().matrix(width, in);
            SplittableRandom random = new SplittableRandom(width);
            for (int row = 0; row < width; row++) {
                for (int i = 0; i < in; i++) {
                    coefficients.set(row, i, (float) random.nextDouble(-1, 1));
                }
            }
            for (int step = 0; step < ITERATIONS; step++) {
                MatMul.nt(compute, 1f, residual, coefficients, basis, false);
                orthonormalize(basis);
                MatMul.tn(compute, 1f, basis, residual, coefficients, false);
            }
            sortByEnergy(compute, basis, coefficients, rank);
            Matrix loraB = Matrix.allocate(arena, out, rank);
            Matrix loraA = Matrix.allocate(arena, rank, in);
            loraB.copyFrom(basis.columns(0, rank));
            MatMul.tn(compute, 1f, loraB, residual, loraA, false);
            double error = energy(residual);
            // B has orthonormal columns, so what A holds is what the error loses.
            double explained = error == 0 ? 1 : Math.min(1, energy(loraA) / error);
            for (int row = 0; row < rank; row++) {
                for (int i = 0; i < in; i++) {
                    loraA.set(row, i, loraA.get(row, i) / root[i]);
                }
            }
            return new LowRankCorrection(loraA, loraB, explained);
        } finally {
            compute.workspace().release(mark);
        }
    }

    private static double energy(Matrix matrix) {
        double sum = 0;
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                double value = matrix.get(row, column);
                sum += value * value;
            }
        }
        return sum;
    }

    /// sqrt(moment), kept above a small share of the largest: a column that was never used must not divide by zero.
    private static float[] roots(double[] moment, int in) {
        float[] root = new float[in];
        double largest = 0;
        for (double value : moment) {
            if (!(value >= 0) || Double.isInfinite(value)) {
                throw new IllegalArgumentException("moment: expected finite values from 0 on, found " + value);
            }
            largest = Math.max(largest, value);
        }
        for (int i = 0; i < in; i++) {
            double value = largest == 0 ? 1 : Math.max(moment[i] / largest, SMALLEST_SHARE);
            root[i] = (float) Math.sqrt(value);
        }
        return root;
    }

    private static Matrix residual(Compute compute, Tensor dense, Weight quantized, float[] root) {
        int out = quantized.outFeatures();
        int in = quantized.inFeatures();
        Weight before = new DenseWeight(dense);
        Matrix residual = compute.workspace().matrix(out, in);
        compute.team()
                .run(
                        out,
                        1 + 65536 / in,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, in);
                            float[] was = compute.scratch(worker, 1, in);
                            for (int o = from; o < to; o++) {
                                quantized.decode(o, o + 1, 0, in, row, 0, in);
                                before.decode(o, o + 1, 0, in, was, 0, in);
                                for (int i = 0; i < in; i++) {
                                    float value = was[i] - row[i];
                                    residual.set(o, i, value * root[i]);
                                }
                            }
                        });
        return residual;
    }

    /// Gram-Schmidt, twice, sums in double; a column without anything new becomes zero.
    private static void orthonormalize(Matrix basis) {
        int rows = basis.rows();
        double[][] columns = new double[basis.columns()][rows];
        for (int column = 0; column < columns.length; column++) {
            double[] own = columns[column];
            for (int row = 0; row < rows; row++) {
                own[row] = basis.get(row, column);
            }
            double before = Math.sqrt(dot(own, own));
            for (int pass = 0; pass < 2; pass++) {
                for (int other = 0; other < column; other++) {
                    double share = dot(columns[other], own);
                    for (int row = 0; row < rows; row++) {
                        own[row] -= share * columns[other][row];
                    }
                }
            }
            double norm = Math.sqrt(dot(own, own));
            double factor = norm > 1e-7 * before ? 1 / norm : 0;
            for (int row = 0; row < rows; row++) {
                own[row] *= factor;
                basis.set(row, column, (float) own[row]);
            }
        }
    }

    /// Rotates the basis to the singular vectors inside it, largest first, by Jacobi rotations of the rows of the
    /// coefficients: afterwards these are orthogonal to each other.
    private static void sortByEnergy(Compute compute, Matrix basis, Matrix coefficients, int rank) {
        int width = basis.columns();
        Matrix gram = compute.workspace().matrix(width, width);
        MatMul.nt(compute, 1f, coefficients, coefficients, gram, false);
        double[][] g = new double[width][width];
        double[][] rotation = new double[width][width];
        for (int i = 0; i < width; i++) {
            rotation[i][i] = 1;
            for (int j = 0; j < width; j++) {
                g[i][j] = 0.5 * ((double) gram.get(i, j) + gram.get(j, i));
            }
        }
        for (int sweep = 0; sweep < 12; sweep++) {
            for (int p = 0; p < width; p++) {
                for (int q = p + 1; q < width; q++) {
                    rotate(g, rotation, p, q);
                }
            }
        }
        Integer[] order = new Integer[width];
        for (int i = 0; i < width; i++) {
            order[i] = i;
        }
        Arrays.sort(order, (a, b) -> Double.compare(g[b][b], g[a][a]));
        double[] row = new double[width];
        for (int o = 0; o < basis.rows(); o++) {
            for (int i = 0; i < width; i++) {
                row[i] = basis.get(o, i);
            }
            for (int k = 0; k < rank; k++) {
                double sum = 0;
                for (int i = 0; i < width; i++) {
                    sum += row[i] * rotation[i][order[k]];
                }
                basis.set(o, k, (float) sum);
            }
        }
    }

    private static void rotate(double[][] g, double[][] rotation, int p, int q) {
        if (g[p][q] == 0) {
            return;
        }
        double theta = (g[q][q] - g[p][p]) / (2 * g[p][q]);
        double t = Math.copySign(1, theta) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        double cosine = 1 / Math.sqrt(t * t + 1);
        double sine = t * cosine;
        for (int i = 0; i < g.length; i++) {
            double ip = g[i][p];
            double iq = g[i][q];
            g[i][p] = cosine * ip - sine * iq;
            g[i][q] = sine * ip + cosine * iq;
        }
        for (int i = 0; i < g.length; i++) {
            double pi = g[p][i];
            double qi = g[q][i];
            g[p][i] = cosine * pi - sine * qi;
            g[q][i] = sine * pi + cosine * qi;
            double rp = rotation[i][p];
            double rq = rotation[i][q];
            rotation[i][p] = cosine * rp - sine * rq;
            rotation[i][q] = sine * rp + cosine * rq;
        }
    }

    private static double dot(double[] a, double[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += a[i] * b[i];
        }
        return sum;
    }
}
