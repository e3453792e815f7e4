package io.vectune.runtime.matmul;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.ExpandedWeight;
import io.vectune.runtime.weight.Weight;
import org.jspecify.annotations.Nullable;

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
        multiply(compute, weight, x, y, accumulate, null);
    }

    /// y = x Wᵀ + the terms, with as few passes over y as the number of tokens allows.
    ///
    /// @param x (tokens, inFeatures)
    /// @param terms of the forward product
    /// @param y (tokens, outFeatures)
    /// @throws IllegalArgumentException if a shape does not fit, or the terms are of the transposed product
    public static void multiply(Compute compute, Weight weight, Matrix x, LowRankTerms terms, Matrix y) {
        terms.check(false, y.rows(), y.columns());
        if (terms.isEmpty()) {
            multiply(compute, weight, x, y, false);
        } else if (isBlocked(weight, x.rows()) && terms.fitInBlock()) {
            // The product packs whole rows of x, unless the weight is widened or they are very long.
            boolean packed = !(weight instanceof ExpandedWeight) && weight.inFeatures() <= Gemm.SPAN_DEPTH;
            terms.settle(compute, packed ? x : null);
            multiply(compute, weight, x, y, false, terms);
        } else {
            multiply(compute, weight, x, y, false);
            terms.addTo(compute, y, true);
        }
    }

    /// Whether y = x Wᵀ is the blocked product: with fewer tokens it is the format's own kernel, with some more one
    /// that decodes the weight once for all of them.
    private static boolean isBlocked(Weight weight, int tokens) {
        return tokens > Math.max(weight.fewTokens(), FewTokenProduct.MAX_TOKENS);
    }

    private static void multiply(
            Compute compute, Weight weight, Matrix x, Matrix y, boolean accumulate, @Nullable LowRankTerms terms) {
        int inFeatures = weight.inFeatures();
        check("x", x, x.rows(), inFeatures);
        check("y", y, x.rows(), weight.outFeatures());
        if (x.rows() == 0) {
            return;
        }
        if (weight instanceof ExpandedWeight wide) {
            multiply(compute, wide.base(), x.columns(0, wide.base().inFeatures()), y, accumulate, terms);
            return;
        }
        Products products = Products.take(compute);
        try {
            if (isBlocked(weight, x.rows())) {
                Gemm gemm = products.gemm();
                Operand rows = gemm.first().of(weight, false);
                Operand tokens = gemm.second().of(x, false);
                gemm.product(compute.team(), rows, tokens, inFeatures, 1f, y, true, accumulate, terms);
            } else if (x.rows() > weight.fewTokens()) {
                products.fewTokens().product(compute.team(), weight, x, y, accumulate);
            } else if (accumulate) {
                long mark = compute.workspace().mark();
                Matrix added = compute.workspace().matrix(y.rows(), y.columns());
                products.fused().product(compute.team(), weight, x, added);
                add(added, y);
                compute.workspace().release(mark);
            } else {
                products.fused().product(compute.team(), weight, x, y);
            }
        } finally {
            products.release();
        }
    }

    /// gradInput (+)= gradOutput W.
    ///
    /// @param gradOutput (tokens, outFeatures)
    /// @param gradInput (tokens, inFeatures)
    public static void multiplyTransposed(
            Compute compute, Weight weight, Matrix gradOutput, Matrix gradInput, boolean accumulate) {
        multiplyTransposed(compute, weight, gradOutput, gradInput, accumulate, null);
    }

    /// gradInput (+)= gradOutput W + the terms, in one pass over gradInput unless the weight is widened or the ranks
    /// are more than a block of its sums.
    ///
    /// @param gradOutput (tokens, outFeatures)
    /// @param terms of the transposed product
    /// @param gradInput (tokens, inFeatures)
    /// @throws IllegalArgumentException if a shape does not fit, or the terms are of the forward product
    public static void multiplyTransposed(
            Compute compute,
            Weight weight,
            Matrix gradOutput,
            LowRankTerms terms,
            Matrix gradInput,
            boolean accumulate) {
        terms.check(true, gradInput.rows(), gradInput.columns());
        // A widened weight reads some of the columns, the terms may reach all.
        if (terms.isEmpty() || !terms.fitInBlock() || weight instanceof ExpandedWeight) {
            multiplyTransposed(compute, weight, gradOutput, gradInput, accumulate);
            terms.addTo(compute, gradInput, true);
        } else {
            terms.settle(compute, weight.outFeatures() <= Gemm.SPAN_DEPTH ? gradOutput : null);
            multiplyTransposed(compute, weight, gradOutput, gradInput, accumulate, terms);
        }
    }

    private static void multiplyTransposed(
            Compute compute,
            Weight weight,
            Matrix gradOutput,
            Matrix gradInput,
            boolean accumulate,
            @Nullable LowRankTerms terms) {
        int inFeatures = weight.inFeatures();
        check("gradOutput", gradOutput, gradOutput.rows(), weight.outFeatures());
        check("gradInput", gradInput, gradOutput.rows(), inFeatures);
        if (gradOutput.rows() == 0) {
            return;
        }
        if (weight instanceof ExpandedWeight wide) {
            int stored = wide.base().inFeatures();
            multiplyTransposed(compute, wide.base(), gradOutput, gradInput.columns(0, stored), accumulate, terms);
            if (!accumulate) {
                gradInput.columns(stored, inFeatures).fill(0);
            }
            return;
        }
        Products products = Products.take(compute);
        try {
            Gemm gemm = products.gemm();
            Operand tokens = gemm.first().of(gradOutput, false);
            Operand columns = gemm.second().of(weight, true);
            int depth = weight.outFeatures();
            gemm.product(compute.team(), tokens, columns, depth, 1f, gradInput, false, accumulate, terms);
        } finally {
            products.release();
        }
    }

    /// c (+)= alpha a bᵀ, with a (m, k), b (n, k), c (m, n).
    public static void nt(Compute compute, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        check("b", b, c.columns(), a.columns());
        check("c", c, a.rows(), b.rows());
        product(compute, alpha, a, false, b, false, a.columns(), c, accumulate);
    }

    /// c (+)= alpha a b, with a (m, k), b (k, n), c (m, n).
    public static void nn(Compute compute, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        check("b", b, a.columns(), c.columns());
        check("c", c, a.rows(), b.columns());
        product(compute, alpha, a, false, b, true, a.columns(), c, accumulate);
    }

    /// c (+)= alpha aᵀ b, with a (k, m), b (k, n), c (m, n): parameter gradients, summed over tokens k.
    public static void tn(Compute compute, float alpha, Matrix a, Matrix b, Matrix c, boolean accumulate) {
        check("b", b, a.rows(), c.columns());
        check("c", c, a.columns(), b.columns());
        product(compute, alpha, a, true, b, true, a.rows(), c, accumulate);
    }

    private static void product(
            Compute compute,
            float alpha,
            Matrix a,
            boolean aDepthIsRows,
            Matrix b,
            boolean bDepthIsRows,
            int depth,
            Matrix c,
            boolean accumulate) {
        if (c.rows() == 0 || c.columns() == 0) {
            return;
        }
        Products products = Products.take(compute);
        try {
            if (narrow(compute, products.narrow(), alpha, a, aDepthIsRows, b, bDepthIsRows, depth, c, accumulate)) {
                return;
            }
            Gemm gemm = products.gemm();
            Operand first = gemm.first().of(a, aDepthIsRows);
            Operand second = gemm.second().of(b, bDepthIsRows);
            if (gemm.cheaperSwapped(first, second, depth)) {
                gemm.product(compute.team(), second, first, depth, alpha, c, true, accumulate);
            } else {
                gemm.product(compute.team(), first, second, depth, alpha, c, false, accumulate);
            }
        } finally {
            products.release();
        }
    }

    /// Runs the product if one of its sizes is so small that the blocked product would mostly copy.
    private static boolean narrow(
            Compute compute,
            NarrowProduct product,
            float alpha,
            Matrix a,
            boolean aDepthIsRows,
            Matrix b,
            boolean bDepthIsRows,
            int depth,
            Matrix c,
            boolean accumulate) {
        if (aDepthIsRows) {
            if (!NarrowProduct.sums(c.rows(), c.columns(), depth)) {
                return false;
            }
            product.outer(compute.team(), alpha, a, b, c, accumulate);
        } else if (NarrowProduct.reduces(c.rows(), c.columns(), depth)) {
            product.reduce(compute.team(), alpha, a, b, bDepthIsRows, c, accumulate);
        } else if (NarrowProduct.expands(c.rows(), c.columns(), depth)) {
            product.expand(compute.team(), alpha, a, b, bDepthIsRows, c, accumulate);
        } else {
            return false;
        }
        return true;
    }

    private static void add(Matrix source, Matrix target) {
        for (int row = 0; row < target.rows(); row++) {
            long from = source.rowOffset(row);
            long to = target.rowOffset(row);
            for (int column = 0; column < target.columns(); column++) {
                float sum =
                        target.segment().get(Tensor.FLOAT, to + 4L * column)
                                + source.segment().get(Tensor.FLOAT, from + 4L * column);
                target.segment().set(Tensor.FLOAT, to + 4L * column, sum);
            }
        }
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
