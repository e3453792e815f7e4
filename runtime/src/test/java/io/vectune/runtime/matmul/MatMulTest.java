package io.vectune.runtime.matmul;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
import org.junit.jupiter.params.provider.EnumSource;

/// Every orientation against sums in double, at awkward sizes; the bits for 1, 2, 3 threads, both tiers, cold and hot.
class MatMulTest {
    /// How the operands lie: the three dense products and the two products with a weight.
    enum Orientation {
        NT,
        NN,
        TN,
        WEIGHT,
        WEIGHT_TRANSPOSED
    }

    private static final String SIZES =
            """
            1, 1, 1
            2, 3, 5
            4, 31, 32
            7, 33, 17
            12, 64, 16
            13, 65, 257
            31, 8, 300
            33, 16, 511
            64, 97, 8
            100, 4, 256
            129, 385, 64
            17, 600, 513
            515, 40, 70
            3, 19, 8200
            """;

    private final Arena arena = Arena.ofShared();

    @AfterEach
    void free() {
        arena.close();
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void agreesWithSumsInDouble(int m, int n, int k) {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            for (Orientation orientation : Orientation.values()) {
                for (boolean accumulate : new boolean[] {false, true}) {
                    Problem problem = new Problem(orientation, m, n, k, 42);
                    Matrix c = problem.start();
                    problem.run(compute, c, accumulate);
                    problem.check(c, accumulate);
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void hasTheSameBitsOnAnyNumberOfThreads(int m, int n, int k) {
        for (Orientation orientation : Orientation.values()) {
            float[] expected = null;
            for (int threads = 1; threads <= 3; threads++) {
                try (ThreadTeam team = ThreadTeam.of(threads);
                        Compute compute = new Compute(team)) {
                    Problem problem = new Problem(orientation, m, n, k, 7);
                    Matrix c = problem.start();
                    problem.run(compute, c, true);
                    if (expected == null) {
                        expected = c.toArray();
                    } else {
                        assertThat(c.toArray()).as("%s on %d threads", orientation, threads).isEqualTo(expected);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void hasTheSameBitsInBothTiers(int m, int n, int k) {
        try (ThreadTeam team = ThreadTeam.of(2)) {
            Gemm scalar = new Gemm(2, new ScalarTiles());
            Gemm vector = new Gemm(2, new VectorTiles());
            for (Orientation orientation : Orientation.values()) {
                for (boolean swapped : new boolean[] {false, true}) {
                    if (orientation == (swapped ? Orientation.WEIGHT_TRANSPOSED : Orientation.WEIGHT)) {
                        continue; // a weight is decoded by rows on the left, by columns on the right
                    }
                    Problem problem = new Problem(orientation, m, n, k, 3);
                    Matrix expected = problem.start();
                    Matrix found = problem.start();
                    problem.run(team, scalar, expected, swapped);
                    problem.run(team, vector, found, swapped);
                    assertThat(found.toArray()).as("%s swapped %s", orientation, swapped).isEqualTo(expected.toArray());
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(Orientation.class)
    void hasTheSameBitsColdAndHot(Orientation orientation) {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Problem problem = new Problem(orientation, 45, 70, 300, 11);
            Matrix c = problem.start();
            problem.run(compute, c, false);
            float[] cold = c.toArray();
            for (int round = 0; round < 300; round++) {
                problem.run(compute, c, false);
            }
            assertThat(c.toArray()).isEqualTo(cold);
        }
    }

    @Test
    void writesNothingBesideTheResult() {
        try (ThreadTeam team = ThreadTeam.of(2);
                Compute compute = new Compute(team)) {
            Matrix frame = Matrix.allocate(arena, 50, 90);
            frame.fill(5f);
            Matrix c = frame.rows(3, 40).columns(7, 60);
            Matrix a = random(37, 20, 1);
            MatMul.nt(compute, 1f, a, random(53, 20, 2), c, false);
            MatMul.nn(compute, 1f, a, random(20, 53, 3), c, false);
            MatMul.tn(compute, 1f, random(20, 37, 5), random(20, 53, 4), c, false);
            for (int row = 0; row < 50; row++) {
                for (int column = 0; column < 90; column++) {
                    if (row < 3 || row >= 40 || column < 7 || column >= 60) {
                        assertThat(frame.get(row, column)).isEqualTo(5f);
                    }
                }
            }
        }
    }

    @Test
    void runsInsideARegionOfItsOwnSession() {
        try (ThreadTeam team = ThreadTeam.of(3);
                Compute compute = new Compute(team)) {
            int products = 12;
            Matrix a = random(products * 8, 40, 1);
            Matrix b = random(30, 40, 2);
            Matrix whole = Matrix.allocate(arena, products * 8, 30);
            Matrix parts = Matrix.allocate(arena, products * 8, 30);
            MatMul.nt(compute, 1f, a, b, whole, false);
            team.run(
                    products,
                    1,
                    (from, to, worker) -> {
                        for (int part = from; part < to; part++) {
                            int row = part * 8;
                            MatMul.nt(compute, 1f, a.rows(row, row + 8), b, parts.rows(row, row + 8), false);
                        }
                    });
            assertThat(parts.toArray()).isEqualTo(whole.toArray());
        }
    }

    @Test
    void refusesShapesThatDoNotFit() {
        try (ThreadTeam team = ThreadTeam.of(1);
                Compute compute = new Compute(team)) {
            Matrix a = random(3, 4, 1);
            Matrix c = random(3, 5, 2);
            assertThatThrownBy(() -> MatMul.nt(compute, 1f, a, random(5, 6, 3), c, false))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessage("b: expected a matrix (5, 4), found (5, 6)");
        }
    }

    private Matrix random(int rows, int columns, long seed) {
        // A stride that is no multiple of anything and an offset that is not aligned to a vector.
        int stride = columns + 3;
        Matrix matrix = Matrix.of(arena.allocate(4L * (rows + 1) * stride + 4), 4, rows, columns, stride);
        SplittableRandom random = new SplittableRandom(seed);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextDouble(-1, 1));
            }
        }
        return matrix;
    }

    /// c (m, n) = alpha sum over k, in one orientation, with random operands.
    private final class Problem {
        private final Orientation orientation;
        private final int m;
        private final int n;
        private final int k;
        private final float alpha;
        private final Matrix a;
        private final Matrix b;
        private final Matrix start;
        private final Weight weight;

        Problem(Orientation orientation, int m, int n, int k, long seed) {
            this.orientation = orientation;
            this.m = m;
            this.n = n;
            this.k = k;
            boolean dense = orientation.compareTo(Orientation.WEIGHT) < 0;
            this.alpha = dense ? 0.75f : 1f;
            this.a = orientation == Orientation.TN ? random(k, m, seed) : random(m, k, seed);
            boolean rows = orientation == Orientation.NT || orientation == Orientation.WEIGHT;
            this.b = rows ? random(n, k, seed + 1) : random(k, n, seed + 1);
            this.start = random(m, n, seed + 2);
            this.weight =
                    new DenseWeight(Tensor.of(DType.F32, new long[] {b.rows(), b.columns()}, compact(b).segment()));
        }

        private Matrix compact(Matrix source) {
            Matrix copy =
                    Matrix.of(
                            arena.allocate(4L * source.rows() * source.columns()),
                            0,
                            source.rows(),
                            source.columns(),
                            source.columns());
            copy.copyFrom(source);
            return copy;
        }

        Matrix start() {
            Matrix c = random(m, n, 99);
            c.copyFrom(start);
            return c;
        }

        void run(Compute compute, Matrix c, boolean accumulate) {
            switch (orientation) {
                case NT -> MatMul.nt(compute, alpha, a, b, c, accumulate);
                case NN -> MatMul.nn(compute, alpha, a, b, c, accumulate);
                case TN -> MatMul.tn(compute, alpha, a, b, c, accumulate);
                case WEIGHT -> MatMul.multiply(compute, weight, a, c, accumulate);
                case WEIGHT_TRANSPOSED -> MatMul.multiplyTransposed(compute, weight, a, c, accumulate);
            }
        }

        void run(ThreadTeam team, Gemm gemm, Matrix c, boolean swapped) {
            boolean bDepthIsRows = orientation != Orientation.NT && orientation != Orientation.WEIGHT;
            Operand first = gemm.first().of(a, orientation == Orientation.TN);
            Operand second = gemm.second();
            if (orientation.compareTo(Orientation.WEIGHT) >= 0) {
                second.of(weight, bDepthIsRows);
            } else {
                second.of(b, bDepthIsRows);
            }
            if (swapped) {
                gemm.product(team, second, first, k, alpha, c, true, true);
            } else {
                gemm.product(team, first, second, k, alpha, c, false, true);
            }
        }

        void check(Matrix c, boolean accumulate) {
            // One rounding a step of a sum of k terms below 1: a random walk of sqrt(k) steps of half an ulp of its
            // size.
            double tolerance = 1e-6 * Math.sqrt(k) + 1e-6;
            for (int i = 0; i < m; i++) {
                for (int j = 0; j < n; j++) {
                    double sum = 0;
                    double magnitude = 0;
                    for (int l = 0; l < k; l++) {
                        double x = orientation == Orientation.TN ? a.get(l, i) : a.get(i, l);
                        boolean rows = orientation == Orientation.NT || orientation == Orientation.WEIGHT;
                        double term = x * (rows ? b.get(j, l) : b.get(l, j));
                        sum += term;
                        magnitude += term * term;
                    }
                    double expected = alpha * sum + (accumulate ? start.get(i, j) : 0);
                    double error = Math.abs(c.get(i, j) - expected);
                    assertThat(error <= tolerance * (1 + Math.sqrt(magnitude)))
                            .as("%s (%d, %d): expected %s, found %s", orientation, i, j, expected, c.get(i, j))
                            .isTrue();
                }
            }
        }
    }
}
