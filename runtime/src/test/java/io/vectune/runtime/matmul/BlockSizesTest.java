package io.vectune.runtime.matmul;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.CacheSizes;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.tensor.DType;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.tensor.Tensor;
import io.vectune.runtime.weight.DenseWeight;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BlockSizesTest {
    @Test
    void followTheCaches() {
        assertThat(BlockSizes.of(new CacheSizes(1L << 20, 4L << 20))).isEqualTo(new BlockSizes(192, 1 << 17));
        assertThat(BlockSizes.of(new CacheSizes(512L << 10, 4L << 20)).groupRows()).isEqualTo(96);
        assertThat(BlockSizes.of(new CacheSizes(1, 1))).isEqualTo(new BlockSizes(24, 1 << 16));
        assertThat(BlockSizes.of(new CacheSizes(1L << 30, 1L << 30))).isEqualTo(new BlockSizes(192, 3 << 17));
    }

    /// Every orientation of the operands, written straight and transposed, over several blocks of k, groups of rows and
    /// of panels in a unit, and several units.
    @ParameterizedTest
    @CsvSource({"weight-left", "weight-right", "matrices", "matrices-transposed"})
    void doNotChangeABit(String operands) {
        int rows = 300;
        int columns = 530;
        int depth = 1300;
        try (Arena arena = Arena.ofShared()) {
            Matrix a = random(arena, rows, depth, 1);
            Matrix b = random(arena, columns, depth, 2);
            Matrix bTransposed = random(arena, depth, columns, 3);
            float[] expected = null;
            for (BlockSizes sizes :
                    new BlockSizes[] {
                        new BlockSizes(192, 3 << 17), new BlockSizes(24, 1 << 12), new BlockSizes(48, 1 << 17)
                    }) {
                for (int threads : new int[] {1, 2}) {
                    Matrix c = Matrix.allocate(arena, rows, columns);
                    c.fill(0.5f);
                    try (ThreadTeam team = ThreadTeam.of(threads)) {
                        Gemm gemm = new Gemm(threads, TileKernels.active(), sizes);
                        Operand first = gemm.first();
                        Operand second = gemm.second();
                        switch (operands) {
                            case "weight-left" ->
                                    gemm.product(
                                            team,
                                            first.of(weight(b), false),
                                            second.of(a, false),
                                            depth,
                                            1f,
                                            c,
                                            true,
                                            true);
                            case "weight-right" ->
                                    gemm.product(
                                            team,
                                            first.of(a, false),
                                            second.of(weight(bTransposed), true),
                                            depth,
                                            1f,
                                            c,
                                            false,
                                            true);
                            case "matrices" ->
                                    gemm.product(
                                            team,
                                            first.of(a, false),
                                            second.of(bTransposed, true),
                                            depth,
                                            0.75f,
                                            c,
                                            false,
                                            true);
                            default ->
                                    gemm.product(
                                            team,
                                            first.of(b, false),
                                            second.of(a, false),
                                            depth,
                                            0.75f,
                                            c,
                                            true,
                                            false);
                        }
                    }
                    float[] found = values(c);
                    if (expected == null) {
                        expected = found;
                    }
                    assertThat(Arrays.equals(found, expected))
                            .as("%s with %s and %d threads", operands, sizes, threads)
                            .isTrue();
                }
            }
        }
    }

    private static DenseWeight weight(Matrix matrix) {
        return new DenseWeight(Tensor.of(DType.F32, new long[] {matrix.rows(), matrix.columns()}, matrix.segment()));
    }

    private static Matrix random(Arena arena, int rows, int columns, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        float[] values = new float[rows * columns];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextDouble(-1, 1);
        }
        return Matrix.copyOf(arena, rows, columns, values);
    }

    private static float[] values(Matrix matrix) {
        float[] values = new float[matrix.rows() * matrix.columns()];
        for (int row = 0; row < matrix.rows(); row++) {
            for (int column = 0; column < matrix.columns(); column++) {
                values[row * matrix.columns() + column] = matrix.get(row, column);
            }
        }
        return values;
    }
}
