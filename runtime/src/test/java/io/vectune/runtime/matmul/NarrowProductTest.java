package io.vectune.runtime.matmul;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.Matrix;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Products of a small rank against sums in double, the bits of both tiers and of 1, 2, 3 threads, at awkward sizes.
class NarrowProductTest {
    private enum Kind {
        REDUCE,
        REDUCE_ROWS,
        EXPAND,
        EXPAND_ROWS,
        OUTER,
        OUTER_TRANSPOSED
    }

    private static final String SIZES =
            """
            24, 65, 1
            25, 66, 3
            48, 96, 4
            61, 130, 7
            100, 257, 16
            129, 300, 17
            64, 1100, 31
            300, 96, 33
            1030, 513, 8
            77, 640, 64
            """;

    private final Arena arena = Arena.ofShared();

    @AfterEach
    void free() {
        arena.close();
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void agreesWithSumsInDouble(int tokens, int features, int rank) {
        for (Kind kind : Kind.values()) {
            for (boolean accumulate : new boolean[] {false, true}) {
                Problem problem = new Problem(kind, tokens, features, rank);
                Matrix c = problem.start();
                try (ThreadTeam team = ThreadTeam.of(2)) {
                    problem.run(team, new NarrowProduct(2, NarrowKernels.active()), c, accumulate);
                }
                problem.check(c, accumulate);
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void hasTheSameBitsInBothTiersAndOnAnyNumberOfThreads(int tokens, int features, int rank) {
        for (Kind kind : Kind.values()) {
            Problem problem = new Problem(kind, tokens, features, rank);
            Matrix expected = problem.start();
            try (ThreadTeam team = ThreadTeam.of(1)) {
                problem.run(team, new NarrowProduct(1, new NarrowScalar()), expected, true);
            }
            for (int threads = 1; threads <= 3; threads++) {
                Matrix found = problem.start();
                try (ThreadTeam team = ThreadTeam.of(threads)) {
                    NarrowProduct product = new NarrowProduct(threads, new NarrowVector());
                    // A first product of another shape leaves its numbers in the buffers.
                    new Problem(kind, 40, 200, 20).run(team, product, new Problem(kind, 40, 200, 20).start(), false);
                    problem.run(team, product, found, true);
                }
                assertThat(found.toArray()).as("%s on %d threads", kind, threads).isEqualTo(expected.toArray());
            }
        }
    }

    private final class Problem {
        private final Kind kind;
        private final Matrix a;
        private final Matrix b;
        private final int rows;
        private final int columns;
        private final int depth;

        private Problem(Kind kind, int tokens, int features, int rank) {
            this.kind = kind;
            this.rows =
                    switch (kind) {
                        case OUTER -> rank;
                        case OUTER_TRANSPOSED -> features;
                        default -> tokens;
                    };
            this.columns =
                    switch (kind) {
                        case REDUCE, REDUCE_ROWS, OUTER_TRANSPOSED -> rank;
                        default -> features;
                    };
            this.depth =
                    switch (kind) {
                        case REDUCE, REDUCE_ROWS -> features;
                        case EXPAND, EXPAND_ROWS -> rank;
                        default -> tokens;
                    };
            boolean sums = kind == Kind.OUTER || kind == Kind.OUTER_TRANSPOSED;
            this.a = sums ? random(depth, rows, 1) : random(rows, depth, 1);
            this.b = depthIsRows() ? random(depth, columns, 2) : random(columns, depth, 2);
        }

        private boolean depthIsRows() {
            return kind != Kind.REDUCE && kind != Kind.EXPAND;
        }

        private Matrix start() {
            return random(rows, columns, 3);
        }

        private void run(ThreadTeam team, NarrowProduct product, Matrix c, boolean accumulate) {
            switch (kind) {
                case REDUCE, REDUCE_ROWS -> product.reduce(team, 0.5f, a, b, depthIsRows(), c, accumulate);
                case EXPAND, EXPAND_ROWS -> product.expand(team, 0.5f, a, b, depthIsRows(), c, accumulate);
                case OUTER, OUTER_TRANSPOSED -> product.outer(team, 0.5f, a, b, c, accumulate);
            }
        }

        private void check(Matrix c, boolean accumulate) {
            Matrix start = start();
            boolean sums = kind == Kind.OUTER || kind == Kind.OUTER_TRANSPOSED;
            for (int i = 0; i < rows; i++) {
                for (int j = 0; j < columns; j++) {
                    double sum = 0;
                    for (int k = 0; k < depth; k++) {
                        double left = sums ? a.get(k, i) : a.get(i, k);
                        sum += left * (depthIsRows() ? b.get(k, j) : b.get(j, k));
                    }
                    double expected = 0.5 * sum + (accumulate ? start.get(i, j) : 0);
                    double tolerance = 1e-6 * (1 + Math.sqrt(depth));
                    assertThat(Math.abs(c.get(i, j) - expected))
                            .as("%s [%d, %d]: expected %s, found %s", kind, i, j, expected, c.get(i, j))
                            .isLessThanOrEqualTo(tolerance);
                }
            }
        }
    }

    /// Numbers in [-1, 1) in a matrix whose rows are not next to each other.
    private Matrix random(int rows, int columns, long seed) {
        Matrix matrix = Matrix.allocate(arena, rows, columns + 5).columns(2, columns + 2);
        SplittableRandom random = new SplittableRandom(seed);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, (float) random.nextDouble(-1, 1));
            }
        }
        return matrix;
    }
}
