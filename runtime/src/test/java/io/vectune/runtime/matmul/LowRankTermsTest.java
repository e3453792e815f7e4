package io.vectune.runtime.matmul;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// A product with low-rank terms is the product of matrices that are longer by the ranks, bit for bit: on any number of
/// threads and in both tiers.
class LowRankTermsTest {
    // Tokens, outputs of three layers side by side, inputs, rank.
    private static final String SIZES =
            """
            7, 5, 3, 9, 11, 1
            13, 65, 30, 31, 257, 4
            33, 16, 1, 300, 384, 16
            129, 385, 64, 7, 576, 13
            515, 40, 70, 33, 70, 64
            19, 12, 200, 3, 8200, 8
            40, 500, 120, 30, 1200, 16
            24, 100, 40, 5, 100, 120
            """;

    private final Arena arena = Arena.ofShared();

    @AfterEach
    void free() {
        arena.close();
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void forwardIsTheProductOfLongerMatrices(int tokens, int first, int second, int third, int inputs, int rank) {
        // Fewer tokens are not multiplied in blocks.
        int many = FewTokenProduct.MAX_TOKENS + tokens;
        Problem problem = new Problem(many, new int[] {first, second, third}, inputs, rank);
        Matrix longX = beside(problem.x, problem.h[0], problem.h[1], problem.h[2]);
        Weight longWeight = weight(problem.weightAndB());
        float[] expected = null;
        for (int threads = 1; threads <= 3; threads++) {
            try (ThreadTeam team = ThreadTeam.of(threads);
                    Compute compute = new Compute(team)) {
                Matrix y = Matrix.allocate(arena, many, problem.outputs);
                if (expected == null) {
                    MatMul.multiply(compute, longWeight, longX, y, false);
                    expected = y.toArray();
                }
                y.fill(7f);
                MatMul.multiply(compute, weight(problem.w), problem.x, problem.forward(), y);
                assertThat(y.toArray()).as("%d threads", threads).isEqualTo(expected);
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void transposedIsTheProductOfLongerMatrices(int tokens, int first, int second, int third, int inputs, int rank) {
        Problem problem = new Problem(tokens, new int[] {first, second, third}, inputs, rank);
        Matrix longG = beside(problem.g, problem.h[0], problem.h[1], problem.h[2]);
        Weight longWeight = weight(below(problem.w, problem.a[0], problem.a[1], problem.a[2]));
        float[] expected = null;
        for (int threads = 1; threads <= 3; threads++) {
            try (ThreadTeam team = ThreadTeam.of(threads);
                    Compute compute = new Compute(team)) {
                Matrix gradInput = random(tokens, inputs, 77);
                if (expected == null) {
                    MatMul.multiplyTransposed(compute, longWeight, longG, gradInput, true);
                    expected = gradInput.toArray();
                    gradInput = random(tokens, inputs, 77);
                }
                MatMul.multiplyTransposed(compute, weight(problem.w), problem.g, problem.transposed(), gradInput, true);
                assertThat(gradInput.toArray()).as("%d threads", threads).isEqualTo(expected);
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void bothTiersHaveTheSameBits(int tokens, int first, int second, int third, int inputs, int rank) {
        Problem problem = new Problem(tokens, new int[] {first, second, third}, inputs, rank);
        try (ThreadTeam team = ThreadTeam.of(2)) {
            float[][] forward = new float[2][];
            float[][] transposed = new float[2][];
            for (int tier = 0; tier < 2; tier++) {
                Gemm gemm = new Gemm(2, tier == 0 ? new ScalarTiles() : new VectorTiles());
                Matrix y = Matrix.allocate(arena, tokens, problem.outputs);
                Operand rows = gemm.first().of(weight(problem.w), false);
                Operand columns = gemm.second().of(problem.x, false);
                gemm.product(team, rows, columns, inputs, 1f, y, true, false, problem.forward());
                forward[tier] = y.toArray();
                Matrix gradInput = Matrix.allocate(arena, tokens, inputs);
                rows = gemm.first().of(problem.g, false);
                columns = gemm.second().of(weight(problem.w), true);
                gemm.product(team, rows, columns, problem.outputs, 1f, gradInput, false, false, problem.transposed());
                transposed[tier] = gradInput.toArray();
            }
            assertThat(forward[1]).isEqualTo(forward[0]);
            assertThat(transposed[1]).isEqualTo(transposed[0]);
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void narrowSidesLeftToTheProductHaveTheBitsOfProductsOfTheirOwn(
            int tokens, int first, int second, int third, int inputs, int rank) {
        Problem problem =
                new Problem(FewTokenProduct.MAX_TOKENS + tokens, new int[] {first, second, third}, inputs, rank);
        for (int threads = 1; threads <= 3; threads++) {
            try (ThreadTeam team = ThreadTeam.of(threads);
                    Compute compute = new Compute(team)) {
                float[] apart =
                        problem.forwardAndBackward(
                                compute, problem.computed(compute, false), problem.computed(compute, true));
                float[] left = problem.forwardAndBackward(compute, problem.left(false), problem.left(true));
                assertThat(left).as("%d threads", threads).isEqualTo(apart);
            }
        }
    }

    @Test
    void narrowSidesOfAnythingElseThanTheProductReadsAreComputedApart() {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Problem problem = new Problem(40, new int[] {20, 30, 40}, 50, 8);
            Matrix other = random(40, 50, 99);
            Matrix h = Matrix.allocate(arena, 40, 8);
            LowRankTerms terms = new LowRankTerms();
            terms.addForward(other, problem.a[0], 0.5f, h, problem.factors[0], 0);
            Matrix y = Matrix.allocate(arena, 40, problem.outputs);
            MatMul.multiply(compute, weight(problem.w), problem.x, terms, y);
            Matrix expected = Matrix.allocate(arena, 40, 8);
            MatMul.nt(compute, 0.5f, other, problem.a[0], expected, false);
            assertThat(h.toArray()).isEqualTo(expected.toArray());
            assertThatThrownBy(() -> terms.addForward(other, random(8, 51, 1), 1, h, problem.factors[0], 0))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("low-rank term: expected A (8, 50) and 40 tokens, found (8, 51) and 40");
        }
    }

    @Test
    void fewTokensAndLargeRanksAreAddedByProductsOfTheirOwn() {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            for (int[] size : new int[][] {{2, 8}, {16, 8}, {40, 200}}) {
                Problem problem = new Problem(size[0], new int[] {20, 30, 40}, 50, size[1]);
                Matrix y = Matrix.allocate(arena, size[0], problem.outputs);
                MatMul.multiply(compute, weight(problem.w), problem.x, problem.forward(), y);
                Matrix longX = beside(problem.x, problem.h[0], problem.h[1], problem.h[2]);
                assertClose(y, longX, problem.weightAndB(), false);
                Matrix gradInput = Matrix.allocate(arena, size[0], 50);
                MatMul.multiplyTransposed(
                        compute, weight(problem.w), problem.g, problem.transposed(), gradInput, false);
                Matrix longG = beside(problem.g, problem.h[0], problem.h[1], problem.h[2]);
                Matrix longW = below(problem.w, problem.a[0], problem.a[1], problem.a[2]);
                assertClose(gradInput, longG, longW, true);
            }
        }
    }

    @Test
    void aloneTheyOverwriteOrAdd() {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Problem problem = new Problem(30, new int[] {20, 30, 40}, 50, 8);
            Matrix h = beside(problem.h[0], problem.h[1], problem.h[2]);
            Matrix y = Matrix.allocate(arena, 30, problem.outputs);
            y.fill(7f);
            problem.forward().addTo(compute, y, false);
            assertClose(y, h, problem.b(), false);
            Matrix gradInput = Matrix.allocate(arena, 30, 50);
            gradInput.fill(7f);
            problem.transposed().addTo(compute, gradInput, false);
            assertClose(gradInput, h, below(problem.a[0], problem.a[1], problem.a[2]), true);
            float[] once = gradInput.toArray();
            problem.transposed().addTo(compute, gradInput, true);
            for (int i = 0; i < once.length; i++) {
                assertThat(gradInput.toArray()[i]).isCloseTo(2 * once[i], within(1e-5f));
            }
            new LowRankTerms().addTo(compute, gradInput, false);
            assertThat(gradInput.toArray()).containsOnly(0f);
        }
    }

    @Test
    void refusesShapesThatDoNotFit() {
        LowRankTerms terms = new LowRankTerms();
        Matrix h = random(9, 4, 1);
        assertThatThrownBy(() -> terms.addForward(h, random(20, 5, 2), 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("low-rank term: expected a factor of rank 4, found 5");
        terms.addForward(h, random(20, 4, 2), 10);
        assertThatThrownBy(() -> terms.addTransposed(h, random(4, 25, 6)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("low-rank term: expected terms of one product, found forward and transposed ones");
        try (ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Weight weight = weight(random(25, 6, 3));
            assertThatThrownBy(() -> MatMul.multiply(compute, weight, random(9, 6, 4), terms, random(9, 25, 5)))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("low-rank term: expected 9 tokens and at most 25 columns, found 9 and 30");
            assertThatThrownBy(() ->
                            MatMul.multiplyTransposed(compute, weight, random(9, 25, 7), terms, random(9, 6, 8), false))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("low-rank term: expected transposed terms, found forward ones");
        }
    }

    /// Layers side by side, each with a term.
    private final class Problem {
        private final int[] starts;
        private final int outputs;
        private final Matrix x;
        private final Matrix g;
        private final Matrix w;
        private final Matrix[] h = new Matrix[3];
        private final Matrix[] gradH = new Matrix[3];
        private final Matrix[] a = new Matrix[3];
        private final Matrix[] factors = new Matrix[3];

        Problem(int tokens, int[] sizes, int inputs, int rank) {
            starts = new int[] {0, sizes[0], sizes[0] + sizes[1]};
            outputs = sizes[0] + sizes[1] + sizes[2];
            x = random(tokens, inputs, 1);
            g = random(tokens, outputs, 2);
            w = random(outputs, inputs, 3);
            for (int layer = 0; layer < 3; layer++) {
                h[layer] = random(tokens, rank + layer, 10 + layer);
                gradH[layer] = random(tokens, rank + layer, 15 + layer);
                a[layer] = random(rank + layer, inputs, 20 + layer);
                factors[layer] = random(sizes[layer], rank + layer, 30 + layer);
            }
        }

        LowRankTerms forward() {
            LowRankTerms terms = new LowRankTerms();
            for (int layer = 0; layer < 3; layer++) {
                terms.addForward(h[layer], factors[layer], starts[layer]);
            }
            return terms;
        }

        LowRankTerms transposed() {
            LowRankTerms terms = new LowRankTerms();
            for (int layer = 0; layer < 3; layer++) {
                terms.addTransposed(h[layer], a[layer]);
            }
            return terms;
        }

        private Matrix part(int layer) {
            return g.columns(starts[layer], starts[layer] + factors[layer].rows());
        }

        /// Terms whose narrow sides are there.
        LowRankTerms computed(Compute compute, boolean ofTransposed) {
            for (int layer = 0; layer < 3; layer++) {
                if (ofTransposed) {
                    MatMul.nn(compute, 0.5f, part(layer), factors[layer], gradH[layer], false);
                } else {
                    MatMul.nt(compute, 0.5f, x, a[layer], h[layer], false);
                }
            }
            LowRankTerms terms = new LowRankTerms();
            for (int layer = 0; layer < 3; layer++) {
                if (ofTransposed) {
                    terms.addTransposed(gradH[layer], a[layer]);
                } else {
                    terms.addForward(h[layer], factors[layer], starts[layer]);
                }
            }
            return terms;
        }

        /// The same, left to the product.
        LowRankTerms left(boolean ofTransposed) {
            LowRankTerms terms = new LowRankTerms();
            for (int layer = 0; layer < 3; layer++) {
                (ofTransposed ? gradH : h)[layer].fill(7);
                if (ofTransposed) {
                    terms.addTransposed(part(layer), factors[layer], 0.5f, gradH[layer], a[layer]);
                } else {
                    terms.addForward(x, a[layer], 0.5f, h[layer], factors[layer], starts[layer]);
                }
            }
            return terms;
        }

        /// y, gradInput and the narrow sides, one behind the other.
        float[] forwardAndBackward(Compute compute, LowRankTerms forward, LowRankTerms transposed) {
            Matrix y = Matrix.allocate(arena, x.rows(), outputs);
            Matrix gradInput = Matrix.allocate(arena, x.rows(), x.columns());
            MatMul.multiply(compute, weight(w), x, forward, y);
            MatMul.multiplyTransposed(compute, weight(w), g, transposed, gradInput, false);
            Matrix all = beside(y, gradInput, h[0], h[1], h[2], gradH[0], gradH[1], gradH[2]);
            return all.toArray();
        }

        /// The factors of the forward terms as one matrix, zeros where a term does not reach.
        Matrix b() {
            int ranks = h[0].columns() + h[1].columns() + h[2].columns();
            Matrix all = Matrix.allocate(arena, outputs, ranks);
            int rank = 0;
            for (int layer = 0; layer < 3; layer++) {
                Matrix factor = factors[layer];
                all.rows(starts[layer], starts[layer] + factor.rows())
                        .columns(rank, rank + factor.columns())
                        .copyFrom(factor);
                rank += factor.columns();
            }
            return all;
        }

        Matrix weightAndB() {
            return beside(w, b());
        }
    }

    private static void assertClose(Matrix found, Matrix left, Matrix right, boolean depthIsRows) {
        for (int i = 0; i < found.rows(); i++) {
            for (int j = 0; j < found.columns(); j++) {
                double sum = 0;
                for (int k = 0; k < left.columns(); k++) {
                    sum += (double) left.get(i, k) * (depthIsRows ? right.get(k, j) : right.get(j, k));
                }
                // Sums of some hundred products below 1 in f32: a random walk of roundings of half an ulp of 16.
                assertThat((double) found.get(i, j)).isCloseTo(sum, within(2e-5));
            }
        }
    }

    private Matrix beside(Matrix... parts) {
        int columns = 0;
        for (Matrix part : parts) {
            columns += part.columns();
        }
        Matrix all = Matrix.allocate(arena, parts[0].rows(), columns);
        int at = 0;
        for (Matrix part : parts) {
            all.columns(at, at + part.columns()).copyFrom(part);
            at += part.columns();
        }
        return all;
    }

    private Matrix below(Matrix... parts) {
        int rows = 0;
        for (Matrix part : parts) {
            rows += part.rows();
        }
        Matrix all = Matrix.allocate(arena, rows, parts[0].columns());
        int at = 0;
        for (Matrix part : parts) {
            all.rows(at, at + part.rows()).copyFrom(part);
            at += part.rows();
        }
        return all;
    }

    private Weight weight(Matrix matrix) {
        Matrix compact = Matrix.allocate(arena, matrix.rows(), matrix.columns());
        compact.copyFrom(matrix);
        return new DenseWeight(Tensor.of(DType.F32, new long[] {matrix.rows(), matrix.columns()}, compact.segment()));
    }

    private Matrix random(int rows, int columns, long seed) {
        // A stride that is no multiple of anything.
        Matrix matrix = Matrix.of(arena.allocate(4L * rows * (columns + 3)), 0, rows, columns, columns + 3);
        SplittableRandom random = new SplittableRandom(seed);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextDouble(-1, 1));
            }
        }
        return matrix;
    }
}
