package io.vectune.adapters.linalg;

import io.vectune.adapters.random.SplitMix;
import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.Workspace;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.util.Arrays;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.EigenDecomposition_F64;
import org.ejml.interfaces.decomposition.SingularValueDecomposition_F64;

/// The leading singular triples of a weight: W = sum_k s_k u_k v_kᵀ + rest.
///
/// Small matrices get an exact decomposition in double. Large ones get a randomized block Krylov method (Musco, Musco
/// 2015, arXiv 1504.05477) that multiplies by W and Wᵀ only, through the blocked product, so that quantized weights
/// need no dense copy: the space spanned by Q, (WᵀW) Q, (WᵀW)^2 Q, ... of a random block Q holds the leading vectors to
/// f32 accuracy after a few products, much sooner than the last power alone.
///
/// Signs are fixed: the entry of largest size in each v_k is positive.
///
/// @param u outFeatures * rank, column k at u[o * rank + k]
/// @param s singular values, descending
/// @param v rank * inFeatures, row k at v[k * inFeatures + i]
@SuppressWarnings("ArrayRecordComponent") // a result that nobody compares
public record TopSvd(double[] u, double[] s, double[] v) {
    // Up to this smaller side an exact decomposition takes well below a second.
    private static final int EXACT_SIDE = 160;
    private static final int OVERSAMPLING = 8;
    private static final int DEPTH = 5;

    // What [#converged] stops at: |WᵀW v - s^2 v| / s_0^2. Products in f32 leave about 3e-7.
    private static final double CONVERGED = 1e-6;
    // Below this, a residual that has stopped falling is rounding.
    private static final double ROUNDING = 2e-5;
    private static final int MAX_CYCLES = 40;
    private static final long SEED = 1;

    /// The leading `rank` triples.
    ///
    /// @throws IllegalArgumentException if the rank exceeds the smaller side
    public static TopSvd of(Compute compute, Weight weight, int rank, long seed) {
        int out = weight.outFeatures();
        int in = weight.inFeatures();
        requireRank(rank, out, in);
        int block = rank + OVERSAMPLING;
        if (Math.min(out, in) <= Math.max(EXACT_SIDE, block * DEPTH)) {
            return exact(dense(weight), out, in, rank, false);
        }
        return krylov(compute, weight, rank, block, seed, 1);
    }

    /// The leading `rank` triples to f32 accuracy on any spectrum, flat ones included: for those who compute them again
    /// elsewhere and must find the same. The method of [#of], started again from its own result until the residuals of
    /// all wanted triples have fallen to rounding; a trained layer takes a few cycles, random values about ten.
    ///
    /// @throws IllegalArgumentException if the rank exceeds the smaller side
    public static TopSvd converged(Compute compute, Weight weight, int rank) {
        int out = weight.outFeatures();
        int in = weight.inFeatures();
        requireRank(rank, out, in);
        // A wider block than one pass needs: the cycles converge with the gap to the first triple beyond the block.
        int block = rank + Math.clamp(rank, OVERSAMPLING, 2 * OVERSAMPLING);
        if (Math.min(out, in) <= Math.max(EXACT_SIDE, block * DEPTH)) {
            return exact(dense(weight), out, in, rank, false);
        }
        return krylov(compute, weight, rank, block, SEED, MAX_CYCLES);
    }

    private static void requireRank(int rank, int out, int in) {
        if (rank > Math.min(out, in)) {
            throw new IllegalArgumentException(
                    "rank: expected at most "
                            + Math.min(out, in)
                            + " for a weight ("
                            + out
                            + ", "
                            + in
                            + "), found "
                            + rank);
        }
    }

    /// The trailing `rank` triples (the smallest singular values), exact; the last triple is the smallest.
    public static TopSvd trailing(Weight weight, int rank) {
        return exact(dense(weight), weight.outFeatures(), weight.inFeatures(), rank, true);
    }

    /// The leading triples of a dense matrix (out, in), exact.
    public static TopSvd exact(double[] matrix, int out, int in, int rank) {
        return exact(matrix, out, in, rank, false);
    }

    private static double[] dense(Weight weight) {
        int in = weight.inFeatures();
        float[] row = new float[in];
        double[] matrix = new double[Math.multiplyExact(weight.outFeatures(), in)];
        for (int o = 0; o < weight.outFeatures(); o++) {
            weight.decode(o, o + 1, 0, in, row, 0, in);
            for (int i = 0; i < in; i++) {
                matrix[o * in + i] = row[i];
            }
        }
        return matrix;
    }

    private static TopSvd exact(double[] matrix, int out, int in, int rank, boolean trailing) {
        DMatrixRMaj input = DMatrixRMaj.wrap(out, in, matrix.clone());
        SingularValueDecomposition_F64<DMatrixRMaj> svd = DecompositionFactory_DDRM.svd(out, in, true, true, true);
        if (!svd.decompose(input)) {
            throw new ArithmeticException("the singular value decomposition did not converge");
        }
        DMatrixRMaj u = svd.getU(null, false);
        DMatrixRMaj vt = svd.getV(null, true);
        double[] values = svd.getSingularValues();
        int count = svd.numberOfSingularValues();
        Integer[] order = descending(Arrays.copyOf(values, count));
        int first = trailing ? count - rank : 0;
        double[] left = new double[out * rank];
        double[] kept = new double[rank];
        double[] right = new double[rank * in];
        for (int k = 0; k < rank; k++) {
            int from = order[first + k];
            kept[k] = values[from];
            for (int o = 0; o < out; o++) {
                left[o * rank + k] = u.get(o, from);
            }
            for (int i = 0; i < in; i++) {
                right[k * in + i] = vt.get(from, i);
            }
        }
        return new TopSvd(left, kept, right).withFixedSigns(out, in);
    }

    private static TopSvd krylov(Compute compute, Weight weight, int rank, int block, long seed, int cycles) {
        int out = weight.outFeatures();
        int in = weight.inFeatures();
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        Matrix basis = workspace.matrix(block * DEPTH, in);
        Matrix product = workspace.matrix(block, out);
        Matrix image = workspace.matrix(block * DEPTH, out);
        Matrix right = workspace.matrix(block, in);
        Matrix left = workspace.matrix(block, out);
        double[] s = new double[block];
        SplitMix random = new SplitMix(seed);
        random.fillNormal(basis.rows(0, block), 0, 1);
        double residual = Double.POSITIVE_INFINITY;
        for (int cycle = 0; cycle < cycles; cycle++) {
            orthonormalize(basis, 0, block);
            Matrix first = basis.rows(0, block);
            Matrix second = basis.rows(block, 2 * block);
            gramProduct(compute, weight, first, product, second);
            if (cycle > 0) {
                double before = residual;
                residual = residual(first, second, s, rank);
                if (residual <= CONVERGED || (residual <= ROUNDING && residual > before / 2)) {
                    break;
                }
            }
            orthonormalize(basis, block, 2 * block);
            for (int step = 2; step < DEPTH; step++) {
                Matrix last = basis.rows((step - 1) * block, step * block);
                gramProduct(compute, weight, last, product, basis.rows(step * block, (step + 1) * block));
                orthonormalize(basis, step * block, (step + 1) * block);
            }
            rayleighRitz(compute, weight, basis, image, s, right, left);
            first.copyFrom(right);
        }
        double[] v = new double[rank * in];
        double[] u = new double[out * rank];
        for (int k = 0; k < rank; k++) {
            for (int i = 0; i < in; i++) {
                v[k * in + i] = right.get(k, i);
            }
            for (int o = 0; o < out; o++) {
                u[o * rank + k] = s[k] > 0 ? left.get(k, o) / s[k] : 0;
            }
        }
        workspace.release(mark);
        return new TopSvd(u, Arrays.copyOf(s, rank), v).withFixedSigns(out, in);
    }

    // next = WᵀW last.
    private static void gramProduct(Compute compute, Weight weight, Matrix last, Matrix product, Matrix next) {
        MatMul.multiply(compute, weight, last, product, false);
        MatMul.multiplyTransposed(compute, weight, product, next, false);
    }

    // The largest |next_k - s_k^2 last_k| / s_0^2 of the first rows, next = WᵀW last.
    private static double residual(Matrix last, Matrix next, double[] s, int rank) {
        double largest = 0;
        for (int k = 0; k < rank; k++) {
            double square = 0;
            for (int i = 0; i < last.columns(); i++) {
                double difference = next.get(k, i) - s[k] * s[k] * last.get(k, i);
                square += difference * difference;
            }
            largest = Math.max(largest, Math.sqrt(square));
        }
        return s[0] > 0 ? largest / (s[0] * s[0]) : 0;
    }

    // Overwrites s, right and left with the leading triples of W restricted to the basis: v = coefficients basis,
    // s u = coefficients image, image = (W basisᵀ)ᵀ.
    private static void rayleighRitz(
            Compute compute, Weight weight, Matrix basis, Matrix image, double[] s, Matrix right, Matrix left) {
        Workspace workspace = compute.workspace();
        long mark = workspace.mark();
        int size = basis.rows();
        MatMul.multiply(compute, weight, basis, image, false);
        // Its Gram matrix in double, so that small singular values keep their accuracy.
        double[] gram = gram(image);
        EigenDecomposition_F64<DMatrixRMaj> eigen = DecompositionFactory_DDRM.eig(size, true, true);
        if (!eigen.decompose(DMatrixRMaj.wrap(size, size, gram))) {
            throw new ArithmeticException("the eigenvalue decomposition did not converge");
        }
        double[] values = new double[size];
        for (int k = 0; k < size; k++) {
            values[k] = Math.max(0, eigen.getEigenvalue(k).getReal());
        }
        Integer[] order = descending(values);
        Matrix coefficients = workspace.matrix(s.length, size);
        for (int k = 0; k < s.length; k++) {
            s[k] = Math.sqrt(values[order[k]]);
            DMatrixRMaj vector = eigen.getEigenVector(order[k]);
            for (int j = 0; j < size; j++) {
                coefficients.set(k, j, (float) vector.get(j));
            }
        }
        MatMul.nn(compute, 1, coefficients, basis, right, false);
        MatMul.nn(compute, 1, coefficients, image, left, false);
        workspace.release(mark);
    }

    private static double[] gram(Matrix rows) {
        int size = rows.rows();
        int columns = rows.columns();
        float[] values = rows.toArray();
        double[] gram = new double[size * size];
        for (int k = 0; k < size; k++) {
            for (int l = 0; l <= k; l++) {
                gram[k * size + l] = dot(values, k * columns, values, l * columns, columns);
                gram[l * size + k] = gram[k * size + l];
            }
        }
        return gram;
    }

    // Four partial sums: the additions of one sum wait for each other.
    private static double dot(float[] a, int aFrom, float[] b, int bFrom, int count) {
        double sum0 = 0;
        double sum1 = 0;
        double sum2 = 0;
        double sum3 = 0;
        int i = 0;
        for (; i <= count - 4; i += 4) {
            sum0 += (double) a[aFrom + i] * b[bFrom + i];
            sum1 += (double) a[aFrom + i + 1] * b[bFrom + i + 1];
            sum2 += (double) a[aFrom + i + 2] * b[bFrom + i + 2];
            sum3 += (double) a[aFrom + i + 3] * b[bFrom + i + 3];
        }
        for (; i < count; i++) {
            sum0 += (double) a[aFrom + i] * b[bFrom + i];
        }
        return (sum0 + sum1) + (sum2 + sum3);
    }

    private static Integer[] descending(double[] values) {
        Integer[] order = new Integer[values.length];
        Arrays.setAll(order, k -> k);
        Arrays.sort(order, (a, b) -> Double.compare(values[b], values[a]));
        return order;
    }

    // Rows [from, to) orthonormal to each other and to all rows before: Gram-Schmidt, twice, sums in double.
    private static void orthonormalize(Matrix basis, int from, int to) {
        int columns = basis.columns();
        double[][] rows = new double[to][];
        for (int row = 0; row < to; row++) {
            float[] values = basis.rows(row, row + 1).toArray();
            rows[row] = new double[columns];
            for (int i = 0; i < columns; i++) {
                rows[row][i] = values[i];
            }
        }
        for (int row = from; row < to; row++) {
            double[] current = rows[row];
            for (int pass = 0; pass < 2; pass++) {
                for (int other = 0; other < row; other++) {
                    double dot = dot(current, rows[other]);
                    for (int i = 0; i < columns; i++) {
                        current[i] -= dot * rows[other][i];
                    }
                }
            }
            double square = 0;
            for (double value : current) {
                square += value * value;
            }
            double scale = square > 0 ? 1 / Math.sqrt(square) : 0;
            for (int i = 0; i < columns; i++) {
                current[i] *= scale;
                basis.set(row, i, (float) current[i]);
            }
        }
    }

    private static double dot(double[] a, double[] b) {
        double sum0 = 0;
        double sum1 = 0;
        double sum2 = 0;
        double sum3 = 0;
        int i = 0;
        for (; i <= a.length - 4; i += 4) {
            sum0 += a[i] * b[i];
            sum1 += a[i + 1] * b[i + 1];
            sum2 += a[i + 2] * b[i + 2];
            sum3 += a[i + 3] * b[i + 3];
        }
        for (; i < a.length; i++) {
            sum0 += a[i] * b[i];
        }
        return (sum0 + sum1) + (sum2 + sum3);
    }

    private TopSvd withFixedSigns(int out, int in) {
        int rank = s.length;
        for (int k = 0; k < rank; k++) {
            int largest = 0;
            for (int i = 1; i < in; i++) {
                if (Math.abs(v[k * in + i]) > Math.abs(v[k * in + largest])) {
                    largest = i;
                }
            }
            if (v[k * in + largest] < 0) {
                for (int i = 0; i < in; i++) {
                    v[k * in + i] = -v[k * in + i];
                }
                for (int o = 0; o < out; o++) {
                    u[o * rank + k] = -u[o * rank + k];
                }
            }
        }
        return this;
    }
}
