package io.vectune.quant;

import static org.assertj.core.api.Assertions.assertThat;

import io.vectune.runtime.compute.Compute;
import io.vectune.runtime.compute.ThreadTeam;
import io.vectune.runtime.matmul.MatMul;
import io.vectune.runtime.tensor.Matrix;
import io.vectune.runtime.weight.Weight;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;
import org.assertj.core.data.Offset;

/// What every weight format owes: exact tiles at any cut, products like those of its decoded matrix, the same bits for
/// any number of threads, the transpose that belongs to it.
public final class WeightChecks {
    private WeightChecks() {}

    /// Every tile has the bits of the dense matrix, and nothing outside the tile is written.
    public static void decodesTo(Weight weight, float[] expected) {
        int rows = weight.outFeatures();
        int columns = weight.inFeatures();
        float[] whole = new float[rows * columns];
        weight.decode(0, rows, 0, columns, whole, 0, columns);
        sameBits(whole, expected);
        RandomGenerator random = new SplittableRandom(1);
        for (int trial = 0; trial < 60; trial++) {
            int rowFrom = random.nextInt(rows);
            int rowTo = rowFrom + random.nextInt(rows - rowFrom + 1);
            int columnFrom = random.nextInt(columns);
            int columnTo = columnFrom + random.nextInt(columns - columnFrom + 1);
            int stride = columnTo - columnFrom + random.nextInt(5);
            int offset = random.nextInt(7);
            float[] tile = new float[offset + rows * stride + 8];
            Arrays.fill(tile, 77f);
            weight.decode(rowFrom, rowTo, columnFrom, columnTo, tile, offset, stride);
            for (int i = 0; i < tile.length; i++) {
                int row = stride == 0 ? -1 : (i - offset) / stride;
                int column = stride == 0 ? -1 : (i - offset) % stride;
                boolean inside = row >= 0 && i >= offset && row < rowTo - rowFrom && column < columnTo - columnFrom;
                float want = inside ? expected[(rowFrom + row) * columns + columnFrom + column] : 77f;
                assertThat(Float.floatToRawIntBits(tile[i]))
                        .as("tile [%d,%d)x[%d,%d) at %d", rowFrom, rowTo, columnFrom, columnTo, i)
                        .isEqualTo(Float.floatToRawIntBits(want));
            }
        }
    }

    /// Products with 1 to 13 tokens, of which the fused kernels take the fewest, both ways, on one and on three
    /// threads.
    public static void products(Weight weight) {
        int rows = weight.outFeatures();
        int columns = weight.inFeatures();
        float[] dense = new float[rows * columns];
        weight.decode(0, rows, 0, columns, dense, 0, columns);
        try (Arena arena = Arena.ofShared();
                ThreadTeam one = ThreadTeam.of(1);
                ThreadTeam three = ThreadTeam.of(3);
                Compute alone = new Compute(one);
                Compute shared = new Compute(three)) {
            for (int tokens : new int[] {1, 2, 3, 4, 5, 8, 13}) {
                Matrix x = random(arena, tokens, columns, 10 + tokens);
                Matrix gradOutput = random(arena, tokens, rows, 20 + tokens);
                Matrix y = Matrix.allocate(arena, tokens, rows);
                Matrix again = Matrix.allocate(arena, tokens, rows);
                Matrix gradInput = Matrix.allocate(arena, tokens, columns);
                MatMul.multiply(alone, weight, x, y, false);
                MatMul.multiply(shared, weight, x, again, false);
                sameBits(again.toArray(), y.toArray());
                near(y, x, dense, columns);
                MatMul.multiplyTransposed(shared, weight, gradOutput, gradInput, false);
                assertThat(dot(y, gradOutput)).isCloseTo(dot(x, gradInput), within(dense, tokens));
                if (tokens <= weight.fewTokens()) {
                    near(fused(weight, x, arena), x, dense, columns);
                }
            }
        }
    }

    private static Offset<Double> within(float[] dense, int tokens) {
        double norm = 0;
        for (float value : dense) {
            norm += (double) value * value;
        }
        return Offset.offset(1e-5 * Math.sqrt(norm * tokens) + 1e-30);
    }

    /// y by the fused kernel, in two parts.
    private static Matrix fused(Weight weight, Matrix x, Arena arena) {
        Matrix y = Matrix.allocate(arena, x.rows(), weight.outFeatures());
        float[] prepared = new float[weight.preparedLength(x.rows())];
        weight.prepare(x, prepared);
        int middle = weight.units() / 3;
        weight.multiplyPrepared(prepared, x.rows(), y, 0, middle);
        weight.multiplyPrepared(prepared, x.rows(), y, middle, weight.units());
        return y;
    }

    private static void near(Matrix y, Matrix x, float[] dense, int columns) {
        for (int token = 0; token < y.rows(); token++) {
            for (int row = 0; row < y.columns(); row++) {
                double sum = 0;
                double size = 0;
                for (int column = 0; column < columns; column++) {
                    double term = (double) dense[row * columns + column] * x.get(token, column);
                    sum += term;
                    size += Math.abs(term);
                }
                // f32 sums of `columns` terms: rounding grows with the sum of magnitudes
                assertThat((double) y.get(token, row))
                        .as("y[%d, %d]", token, row)
                        .isCloseTo(sum, Offset.offset(4e-7 * size + 1e-30));
            }
        }
    }

    /// Equal bits, with the first difference named.
    public static void sameBits(float[] found, float[] expected) {
        assertThat(found).hasSameSizeAs(expected);
        for (int i = 0; i < found.length; i++) {
            if (Float.floatToRawIntBits(found[i]) != Float.floatToRawIntBits(expected[i])) {
                throw new AssertionError("element " + i + ": expected " + expected[i] + ", found " + found[i]);
            }
        }
    }

    private static double dot(Matrix a, Matrix b) {
        double sum = 0;
        for (int row = 0; row < a.rows(); row++) {
            for (int column = 0; column < a.columns(); column++) {
                sum += (double) a.get(row, column) * b.get(row, column);
            }
        }
        return sum;
    }

    /// A matrix of values in [-1, 1) from a seed.
    public static Matrix random(Arena arena, int rows, int columns, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        Matrix matrix = Matrix.allocate(arena, rows, columns);
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                matrix.set(row, column, 2 * random.nextFloat() - 1);
            }
        }
        return matrix;
    }
}
