package io.vectune.runtime.matmul;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import io.vectune.runtime.weight.ExpandedWeight;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// 1 to 33 tokens at sizes that are no multiple of anything: sums in double, the bits of both tiers, of 1 to 3 threads,
/// cold and hot.
class FewTokenProductTest {
    private static final String SIZES =
            """
            1, 1
            3, 5
            4, 16
            5, 17
            31, 63
            33, 300
            70, 769
            97, 1601
            """;

    private static final int MAX_TOKENS = 33;

    private final Arena arena = Arena.ofShared();
    private final DotKernels vector = new DotVector();
    private final DotKernels scalar = new DotScalar(vector.lanes(), vector.maxTokens());

    @AfterEach
    void free() {
        arena.close();
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void agreesWithSumsInDouble(int rows, int columns) {
        Weight weight = weight(rows, columns);
        for (int tokens : new int[] {1, 2, 3, 5, 8, 13, MAX_TOKENS}) {
            for (boolean accumulate : new boolean[] {false, true}) {
                Matrix x = random(tokens, columns, 1);
                Matrix y = random(tokens, rows, 2);
                Matrix start = random(tokens, rows, 2);
                product(2, vector, weight, x, y, accumulate);
                float[] decoded = new float[columns];
                for (int row = 0; row < rows; row++) {
                    weight.decode(row, row + 1, 0, columns, decoded, 0, columns);
                    for (int token = 0; token < tokens; token++) {
                        double sum = accumulate ? start.get(token, row) : 0;
                        for (int k = 0; k < columns; k++) {
                            sum += (double) decoded[k] * x.get(token, k);
                        }
                        // One rounding a step of a sum of terms below 1: a random walk of half an ulp of its size.
                        double tolerance = 1e-6 * Math.sqrt(columns) * (1 + Math.sqrt(columns / 9.0));
                        assertThat(Math.abs(y.get(token, row) - sum))
                                .as("%d tokens, row %d", tokens, row)
                                .isLessThan(tolerance);
                    }
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void hasTheSameBitsInBothTiersAndOnAnyNumberOfThreads(int rows, int columns) {
        for (Weight weight :
                new Weight[] {weight(rows, columns), ExpandedWeight.of(weight(rows, columns), columns + 7)}) {
            for (int tokens = 1; tokens <= MAX_TOKENS; tokens++) {
                boolean accumulate = tokens % 2 == 0;
                Matrix x = random(tokens, weight.inFeatures(), 3);
                Matrix expected = random(tokens, rows, 4);
                product(1, scalar, weight, x, expected, accumulate);
                for (int threads = 1; threads <= 3; threads++) {
                    Matrix found = random(tokens, rows, 4);
                    product(threads, vector, weight, x, found, accumulate);
                    assertThat(found.toArray())
                            .as("%d tokens on %d threads", tokens, threads)
                            .isEqualTo(expected.toArray());
                }
            }
        }
    }

    @ParameterizedTest
    @CsvSource(textBlock = SIZES)
    void hasTheSameBitsForATokenWhateverIsBesideIt(int rows, int columns) {
        Weight weight = weight(rows, columns);
        Matrix x = random(MAX_TOKENS, columns, 5);
        Matrix together = Matrix.allocate(arena, MAX_TOKENS, rows);
        product(1, vector, weight, x, together, false);
        for (int from = 0, tokens = 1; from + tokens <= MAX_TOKENS; from += tokens++) {
            Matrix apart = Matrix.allocate(arena, tokens, rows);
            product(1, vector, weight, x.rows(from, from + tokens), apart, false);
            assertThat(apart.toArray()).isEqualTo(together.rows(from, from + tokens).toArray());
        }
    }

    @ParameterizedTest
    @CsvSource({"33, 300, 2", "70, 769, 7", "40, 1601, 16"})
    void hasTheSameBitsColdAndHot(int rows, int columns, int tokens) {
        Weight weight = weight(rows, columns);
        Matrix x = random(tokens, columns, 6);
        Matrix y = Matrix.allocate(arena, tokens, rows);
        product(1, vector, weight, x, y, false);
        float[] cold = y.toArray();
        for (int round = 0; round < 300; round++) {
            product(1, vector, weight, x, y, false);
        }
        assertThat(y.toArray()).isEqualTo(cold);
    }

    @ParameterizedTest
    @CsvSource({"33, 300, 5", "3, 17, 1"})
    void writesNothingBesideTheResult(int rows, int columns, int tokens) {
        Matrix frame = Matrix.allocate(arena, tokens + 2, rows + 5);
        frame.fill(5f);
        Matrix y = frame.rows(1, tokens + 1).columns(2, rows + 2);
        product(1, vector, weight(rows, columns), random(tokens, columns, 7), y, false);
        y.fill(5f);
        for (float value : frame.toArray()) {
            assertThat(value).isEqualTo(5f);
        }
    }

    private static void product(
            int threads, DotKernels kernels, Weight weight, Matrix x, Matrix y, boolean accumulate) {
        NarrowKernels copies = kernels instanceof DotVector ? new NarrowVector() : new NarrowScalar();
        try (ThreadTeam team = ThreadTeam.of(threads)) {
            new FewTokenProduct(threads, kernels, copies).product(team, weight, x, y, accumulate);
        }
    }

    private Weight weight(int rows, int columns) {
        Tensor tensor = Tensor.allocate(arena, DType.F32, rows, columns);
        SplittableRandom random = new SplittableRandom(8);
        for (long i = 0; i < tensor.elements(); i++) {
            tensor.segment().set(Tensor.FLOAT, 4 * i, (float) random.nextDouble(-1, 1));
        }
        return new DenseWeight(tensor);
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
}
