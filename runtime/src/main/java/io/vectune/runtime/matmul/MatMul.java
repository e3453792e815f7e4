package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;

/// The matrix products of training and inference. x, y, gradients are f32; a weight may have any format.
///
/// `accumulate` adds to the result, otherwise it is overwritten. Results have the same bits for any number of threads.
public final class MatMul {
    private MatMul() {}

    /// y (+)= x Wᵀ.
    ///
    /// @param x (tokens, inFeatures)
    /// @param y (tokens, outFeatures)
    public static void multiply(Compute compute, Weight weight, Matrix x, Matrix y, boolean accumulate) {
        int inFeatures = weight.inFeatures();
        check("x", x, x.rows(), inFeatures);
        check("y", y, x.rows(), weight.outFeatures());
        compute.team()
                .run(
                        weight.outFeatures(),
                        1,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, inFeatures);
                            for (int o = from; o < to; o++) {
                                weight.decode(o, o + 1, 0, inFeatures, row, 0, inFeatures);
                                for (int t = 0; t < x.rows(); t++) {
                                    float sum = 0;
                                    for (int i = 0; i < inFeatures; i++) {
                                        sum = Math.fma(row[i], x.get(t, i), sum);
                                    }
                                    y.set(t, o, accumulate ? y.get(t, o) + sum : sum);
                                }
                            }
                        });
    }

    /// gradInput (+)= gradOutput W.
    ///
    /// @param gradOutput (tokens, outFeatures)
    /// @param gradInput (tokens, inFeatures)
    public static void multiplyTransposed(
            Compute compute, Weight weight, Matrix gradOutput, Matrix gradInput, boolean accumulate) {
        int inFeatures = weight.inFeatures();
        check("gradOutput", gradOutput, gradOutput.rows(), weight.outFeatures());
        check("gradInput", gradInput, gradOutput.rows(), inFeatures);
        compute.team()
                .run(
                        gradOutput.rows(),
                        1,
                        (from, to, worker) -> {
                            float[] row = compute.scratch(worker, 0, inFeatures);
                            if (!accumulate) {
                                gradInput.rows(from, to).fill(0);
                            }
                            for (int o = 0; o < weight.outFeatures(); o++) {
                                weight.decode(o, o + 1, 0, inFeatures, row, 0, inFeatures);
                                for (int t = from; t < to; t++) {
                                    float g = gradOutput.get(t, o);
                                    for (int i = 0; i < inFeatures; i++) {
                                        gradInput.set(t, i, Math.fma(g, row[i], gradInput.get(t, i)));
                                    }
                                }
                            }
                        });
    }

    /// c (+)= alpha a bᵀ, with a (m, k), b (n, k), c (m, n).
    public static void nt(Compute compute, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        check("b", b, c.columns(), a.columns());
        check("c", c, a.rows(), b.rows());
        product(compute, alpha, c, accumulate, a.columns(), (m, n, k) -> a.get(m, k) * b.get(n, k));
    }

    /// c (+)= alpha a b, with a (m, k), b (k, n), c (m, n).
    public static void nn(Compute compute, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        check("b", b, a.columns(), c.columns());
        check("c", c, a.rows(), b.columns());
        product(compute, alpha, c, accumulate, a.columns(), (m, n, k) -> a.get(m, k) * b.get(k, n));
    }

    /// c (+)= alpha aᵀ b, with a (k, m), b (k, n), c (m, n): parameter gradients, summed over tokens k.
    public static void tn(Compute compute, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        check("b", b, a.rows(), c.columns());
        check("c", c, a.columns(), b.columns());
        product(compute, alpha, c, accumulate, a.rows(), (m, n, k) -> a.get(k, m) * b.get(k, n));
    }

    private interface Term {
        float at(int m, int n, int k);
    }

    private static void product(Compute compute, float alpha, Matrix c, boolean accumulate, int depth, Term term) {
        compute.team()
                .run(
                        c.rows(),
                        1,
                        (from, to, worker) -> {
                            for (int m = from; m < to; m++) {
                                for (int n = 0; n < c.columns(); n++) {
                                    float sum = 0;
                                    for (int k = 0; k < depth; k++) {
                                        sum += term.at(m, n, k);
                                    }
                                    c.set(m, n, accumulate ? c.get(m, n) + alpha * sum : alpha * sum);
                                }
                            }
                        });
    }

    private static void check(String name, Matrix matrix, int rows, int columns) {
        if (matrix.rows() != rows || matrix.columns() != columns) {
            throw new IllegalArgumentException(
                    name
                            + ": expected a matrix ("
                            + rows
                            + ", "
                            + columns
                            + "), found ("
                            + matrix.rows()
                            + ", "
                            + matrix.columns()
                            + ")");
        }
    }
}
